//! What resolvers and checkers of zones expect of an authoritative server, asked by them.
//!
//! The table of `dig` commands is that of RFC 8906 section 8 with what ISC's `genreport` asks besides
//! (its test names stand in the first column); each reply is written as one line and compared whole.
//! Zonemaster and DNSViz see a small Internet of their own, with a root, in a network namespace.

use crate::harness::Steerd;
use crate::namespaces::Namespace;
use crate::servers::Server;
use crate::{are_installed, ask, output_of, run};
use std::path::{Path, PathBuf};

/// Addresses of the two name servers of `cdn.example`, where there is a namespace to have them.
const NAME_SERVERS: [&str; 4] = ["9.1.1.53", "2a01::53", "11.2.2.53", "2b02::53"];

/// Static records of the zone; `big` does not fit into 512 octets, and `huge` into no UDP reply.
fn records() -> String {
    let [a1, aaaa1, a2, aaaa2] = NAME_SERVERS;
    let text = format!("\"{}\" ", "x".repeat(200));
    format!(
        "$TTL 3600
@ MX 10 mail
@ TXT \"v=spf1 -all\"
mail A 9.1.1.25
ns1 A {a1}
ns1 AAAA {aaaa1}
ns2 A {a2}
ns2 AAAA {aaaa2}
alias CNAME mail
*.wild TXT \"any\"
big TXT {}
huge TXT {}
",
        text.repeat(4),
        text.repeat(20),
    )
}

/// Writes a config with the zone, to listen at `dns`.
fn write_config(dir: &Path, dns: &[String]) -> PathBuf {
    std::fs::write(dir.join("zone"), records()).expect("a directory that can be written");
    std::fs::write(dir.join("table"), include_bytes!("../../data/fleet-small.ndjson")).expect("written");
    let text = format!(
        r#"drain_s = 0
[dns]
listen = {dns:?}
workers = 1
identity = "ams-1"
[[dns.zone]]
name = "cdn.example"
ns = ["ns1.cdn.example", "ns2.cdn.example"]
soa = {{ mname = "ns1.cdn.example", rname = "hostmaster.cdn.example", refresh_s = 14400, retry_s = 3600 }}
records = "zone"
[http]
listen = ["127.0.0.1:0"]
workers = 1
[control]
listen = "127.0.0.1:0"
[table]
file = "table"
"#
    );
    let path = dir.join("steerd.toml");
    std::fs::write(&path, text).expect("written");
    path
}

/// A reply as `dig` prints it, on one line: opcode unless QUERY, response code, flags, numbers of records by
/// section without the OPT, types of the answer; then of the OPT version, flags, options.
fn line_of(text: &str) -> String {
    let field = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split(['\n', ',', ';']).next().map(str::trim)
    };
    let (Some(opcode), Some(status)) = (field("opcode: "), field("status: ")) else {
        return format!("no reply: {text}");
    };
    let opcode = if opcode == "QUERY" { String::new() } else { format!("{opcode} ") };
    let flags = text.lines().find_map(|line| line.strip_prefix(";; flags: ")).unwrap_or_default();
    let flags = flags.split("; QUERY").next().unwrap_or_default();
    let opt = text.lines().find_map(|line| line.strip_prefix("; EDNS: version: "));
    let count = |name| field(name).and_then(|number| number.parse::<usize>().ok()).unwrap_or(99);
    let additional = count("ADDITIONAL: ") - usize::from(opt.is_some());
    let counts = [count("QUERY: "), count("ANSWER: "), count("AUTHORITY: "), additional];
    let counts = counts.map(|count| count.to_string()).join("/");
    let is_answer = |line: &&str| !line.starts_with(';') && line.contains("\tIN\t");
    let answer = text.split_once("ANSWER SECTION:").map_or("", |(_, rest)| rest);
    let answer = answer.split("\n\n").next().unwrap_or_default();
    let mut types: Vec<&str> =
        answer.lines().filter(is_answer).filter_map(|line| line.split_whitespace().nth(3)).collect();
    types.dedup();
    let opt = opt.map_or(String::new(), |opt| {
        let (version, rest) = opt.split_once(", flags:").unwrap_or((opt, ""));
        let flags = rest.split("; udp").next().unwrap_or_default();
        let options = text.split_once("; EDNS: ").map_or("", |(_, rest)| rest).lines().skip(1);
        let options = options.take_while(|line| line.starts_with("; "));
        let names = options.filter_map(|line| line[2..].split([':', ' ']).next());
        let names: Vec<&str> = names.collect();
        format!(" edns{version}{flags} {}", names.join(" ").to_lowercase()).trim_end().to_owned()
    });
    format!("{opcode}{status} {flags} {counts} {}", types.join(" ")).trim_end().to_owned() + &opt
}

/// Name in `genreport`, section of RFC 8906, what `dig` is told, and the reply as [`line_of`] writes it.
///
/// `+noad`, `+norec`, `+nocookie` and the version negotiation off: only what is told is sent.
const QUESTIONS: &[(&str, &str, &str, &str)] = &[
    ("dns", "8.1.1", "+noedns SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("type666", "8.1.2", "+noedns TYPE666 cdn.example", "NOERROR qr aa 1/0/1/0"),
    ("TYPE1000", "8.1.2", "+noedns TYPE1000 cdn.example", "NOERROR qr aa 1/0/1/0"),
    ("cd", "8.1.3.1", "+noedns +cd SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("ad", "8.1.3.2", "+noedns +ad SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("zflag", "8.1.3.3", "+noedns +zflag SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("rd", "8.1.3.4", "+noedns +rec SOA cdn.example", "NOERROR qr aa rd 1/1/0/0 SOA"),
    ("aa", "3.1.3", "+noedns +aaflag SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("ra", "3.1.3", "+noedns +raflag SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("tc", "3.1.3", "+noedns +tcflag SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("opcode", "8.1.4", "+noedns +opcode=15 +header-only", "RESERVED15 NOTIMP qr 0/0/0/0"),
    ("opcode", "3.1.4", "+noedns +opcode=15 SOA cdn.example", "RESERVED15 NOTIMP qr 0/0/0/0"),
    (
        "opcodeflg",
        "3.1.4",
        "+noedns +opcode=15 +tcflag +rec +raflag +cd +ad +aaflag +zflag SOA cdn.example",
        "RESERVED15 NOTIMP qr 0/0/0/0",
    ),
    ("opcode", "3.1.4", "+noedns +opcode=notify SOA cdn.example", "NOTIFY NOTIMP qr 0/0/0/0"),
    ("opcode", "3.1.4", "+noedns +opcode=update SOA cdn.example", "UPDATE NOTIMP qr 0/0/0/0"),
    ("opcode", "3.1.4", "+noedns +opcode=iquery SOA cdn.example", "IQUERY NOTIMP qr 0/0/0/0"),
    ("opcode", "3.1.4", "+noedns +opcode=status SOA cdn.example", "STATUS NOTIMP qr 0/0/0/0"),
    ("tcp", "8.1.5", "+noedns +tcp SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA"),
    ("edns", "8.2.1", "+edns=0 SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("edns1", "8.2.2", "+edns=1 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("edns255", "8.2.2", "+edns=255 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("ednsopt", "8.2.3", "+edns=0 +ednsopt=100 SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednsopt", "8.2.3", "+ednsopt=100:c0ffee SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednsflags", "8.2.4", "+edns=0 +ednsflags=0x40 SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednsflags", "8.2.4", "+edns=0 +ednsflags=0x7fff SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("edns1flags", "8.2.5", "+edns=1 +ednsflags=0x40 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("edns1opt", "8.2.6", "+edns=1 +ednsopt=100 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    (
        "edns@512",
        "8.2.7",
        "+dnssec +bufsize=512 +ignore DNSKEY cdn.example",
        "NOERROR qr aa 1/0/1/0 edns0 do",
    ),
    (
        "edns@512",
        "8.2.7",
        "+dnssec +bufsize=512 +ignore TXT big.cdn.example",
        "NOERROR qr aa tc 1/0/0/0 edns0 do",
    ),
    (
        "edns@512",
        "3.2.5",
        "+dnssec +bufsize=4096 +ignore TXT huge.cdn.example",
        "NOERROR qr aa tc 1/0/0/0 edns0 do",
    ),
    ("edns@512", "3.2.5", "+noedns +ignore TXT big.cdn.example", "NOERROR qr aa tc 1/0/0/0"),
    ("edns@512", "3.2.5", "+noedns TXT huge.cdn.example", "NOERROR qr aa 1/1/0/0 TXT"),
    ("do", "8.2.8", "+edns=0 +dnssec SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0 do"),
    ("docd", "3.2.6", "+edns=0 +dnssec +cd SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0 do"),
    ("signed", "3.2.6", "+dnssec A mail.cdn.example", "NOERROR qr aa 1/1/0/0 A edns0 do"),
    ("edns1do", "8.2.9", "+edns=1 +dnssec SOA cdn.example", "BADVERS qr 1/0/0/0 edns0 do"),
    (
        "optlist",
        "8.2.10",
        "+edns=0 +nsid +expire +subnet=0.0.0.0/0 +cookie=0102030405060708 SOA cdn.example",
        "NOERROR qr aa 1/1/0/0 SOA edns0 client-subnet cookie nsid",
    ),
    ("ednsnsid", "3.2.3", "+edns=0 +nsid SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0 nsid"),
    (
        "ednscookie",
        "3.2.3",
        "+edns=0 +cookie=0102030405060708 SOA cdn.example",
        "NOERROR qr aa 1/1/0/0 SOA edns0 cookie",
    ),
    ("ednsexpire", "3.2.3", "+edns=0 +expire SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednskeepalive", "3.2.3", "+edns=0 +keepalive +tcp SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednspadding", "3.2.3", "+edns=0 +padding=128 SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    (
        "ednssubnet",
        "3.2.3",
        "+edns=0 +subnet=192.0.2.0/24 SOA cdn.example",
        "NOERROR qr aa 1/1/0/0 SOA edns0 client-subnet",
    ),
    ("edns1nsid", "3.2.2", "+edns=1 +nsid SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("edns1cookie", "3.2.2", "+edns=1 +cookie=0102030405060708 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("edns1expire", "3.2.2", "+edns=1 +expire SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("edns1subnet", "3.2.2", "+edns=1 +subnet=192.0.2.0/24 SOA cdn.example", "BADVERS qr 1/0/0/0 edns0"),
    ("ednstcp", "3.2.7", "+edns=0 +tcp SOA cdn.example", "NOERROR qr aa 1/1/0/0 SOA edns0"),
    ("ednstcp", "3.2.7", "+dnssec TXT huge.cdn.example", "NOERROR qr aa 1/1/0/0 TXT edns0 do"),
    (
        "docookie",
        "3.2.6",
        "+dnssec +cookie=0102030405060708 SOA cdn.example",
        "NOERROR qr aa 1/1/0/0 SOA edns0 do cookie",
    ),
    (
        "bind11",
        "3.2.6",
        "+dnssec +bufsize=512 +cookie=0102030405060708 SOA cdn.example",
        "NOERROR qr aa 1/1/0/0 SOA edns0 do cookie",
    ),
    (
        "dig11",
        "3.2.3",
        "+ad +rec +bufsize=4096 +cookie=0102030405060708 SOA cdn.example",
        "NOERROR qr aa rd 1/1/0/0 SOA edns0 cookie",
    ),
    ("dnswkk", "RFC 8945", "-y hmac-sha256:k.:c2VjcmV0 +noedns SOA cdn.example", "NOTAUTH qr 1/0/0/1"),
    ("dnswkk", "RFC 8945", "-y hmac-sha256:k.:c2VjcmV0 +edns=0 SOA cdn.example", "NOTAUTH qr 1/0/0/1 edns0"),
    ("", "3.1.1", "+noedns SOA other.example", "REFUSED qr 1/0/0/0"),
    ("", "3.1.1", "+noedns NS .", "REFUSED qr 1/0/0/0"),
    ("", "RFC 2308", "+noedns A nobody.cdn.example", "NXDOMAIN qr aa 1/0/1/0"),
    ("", "RFC 2308", "+noedns AAAA mail.cdn.example", "NOERROR qr aa 1/0/1/0"),
    ("", "RFC 1034", "+noedns A alias.cdn.example", "NOERROR qr aa 1/2/0/0 CNAME A"),
    ("", "RFC 4592", "+noedns TXT a.b.wild.cdn.example", "NOERROR qr aa 1/1/0/0 TXT"),
    ("", "RFC 4592", "+noedns A a.wild.cdn.example", "NOERROR qr aa 1/0/1/0"),
    ("", "RFC 8482", "+noedns ANY mail.cdn.example", "NOERROR qr aa 1/1/0/0 HINFO"),
    ("", "RFC 9619", "+noedns +header-only", "FORMERR qr 0/0/0/0"),
    (
        "",
        "RFC 7871",
        "+subnet=193.0.6.0/24 A video.cdn.example",
        "NOERROR qr aa 1/2/0/0 A edns0 client-subnet",
    ),
];

/// Registered types that nobody should need to know; the apex has none of them.
const TYPES: &str = "A MD MF CNAME MB MG MR NULL WKS PTR HINFO MINFO RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY \
    PX GPOS AAAA LOC NXT SRV NAPTR KX CERT A6 DNAME APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 \
    NSEC3PARAM TLSA SMIMEA HIP CDS CDNSKEY OPENPGPKEY SPF NID L32 L64 LP EUI48 EUI64 URI CAA AVC DOA DLV SVCB \
    HTTPS ZONEMD CSYNC TYPE65280 TYPE65535";

#[test]
fn rfc8906_s8_every_question_gets_the_reply_that_it_should() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = Steerd::start(&write_config(dir.path(), &["127.0.0.1:0".to_owned()]));
    let mut wrong = Vec::new();
    let questions = QUESTIONS.iter().map(|&(name, section, told, expected)| {
        (format!("{name} ({section})"), told.to_owned(), expected.to_owned())
    });
    let types = TYPES.split_whitespace().map(|rtype| {
        let expected = "NOERROR qr aa 1/0/1/0".to_owned();
        (rtype.to_owned(), format!("+noedns {rtype} cdn.example"), expected)
    });
    for (name, told, expected) in questions.chain(types) {
        let only = ["+noad", "+norec", "+nocookie", "+noednsnegotiation", "+tries=2", "+timeout=5"];
        let told: Vec<&str> = only.into_iter().chain(told.split_whitespace()).collect();
        let Some(text) = ask("dig", &steerd, &told) else { return };
        let found = line_of(&text);
        if found != expected {
            wrong.push(format!("{name}: {found}, not {expected}: dig {}", told.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn drill_delv_mdig_and_kdig_read_every_kind_of_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = Steerd::start(&write_config(dir.path(), &["127.0.0.1:0".to_owned()]));
    let port = steerd.dns.port().to_string();
    let check = |program: &str, args: &[&str], expected: &[&str]| {
        let Some(text) = run(program, args) else { return };
        for part in expected {
            assert!(text.contains(part), "{program} {args:?}: no {part:?} in {text}");
        }
    };
    let at = "@127.0.0.1";
    check("drill", &["-p", &port, at, "mail.cdn.example", "A"], &["rcode: NOERROR", "\t9.1.1.25"]);
    check("drill", &["-p", &port, at, "nobody.cdn.example", "A"], &["rcode: NXDOMAIN", "\tSOA\t"]);
    check(
        "drill",
        &["-D", "-p", &port, at, "cdn.example", "MX"],
        &["rcode: NOERROR", "flags: do", "10 mail"],
    );
    check("drill", &["-t", "-p", &port, at, "huge.cdn.example", "TXT"], &["ANSWER: 1,", "xxxx"]);
    // No signatures: what delv fetches it says is unsigned, and authoritative.
    check("delv", &["-i", at, "-p", &port, "video.cdn.example", "A"], &["; authoritative", "\tA\t198.18.0."]);
    check("delv", &["-i", at, "-p", &port, "nobody.cdn.example", "A"], &["NXDOMAIN"]);
    check("delv", &["-i", at, "-p", &port, "alias.cdn.example", "A"], &["\tCNAME\tmail.", "\tA\t9.1.1.25"]);
    // Many at a time, by UDP and by one TCP connection.
    let many = ["video.cdn.example", "A", "cdn.example", "SOA", "nobody.cdn.example", "A"];
    let [name1, type1, name2, type2, name3, type3] = many;
    check(
        "kdig",
        &[at, "-p", &port, "+tcp", "+keepopen", "+nocookie", name1, type1, name2, type2, name3, type3],
        &["status: NOERROR", "status: NXDOMAIN", "hostmaster.cdn.example."],
    );
    check(
        "kdig",
        &[at, "-p", &port, "+subnet=193.0.6.0/24", "+nsid", "+cookie", name1],
        &["CLIENT-SUBNET: 193.0.6.0/24/21", "NSID: 616D732D31 \"ams-1\"", "COOKIE: "],
    );
    let names = ["video.cdn.example", "mail.cdn.example", "nobody.cdn.example", "alias.cdn.example"];
    check("mdig", &[&[at, "-p", &port], &names[..]].concat(), &["9.1.1.25", "status: NXDOMAIN", "CNAME"]);
    check("host", &["-p", &port, "cdn.example", "127.0.0.1"], &["mail is handled by 10 mail.cdn.example."]);
}

/// A root that delegates `example`, which delegates `cdn.example` to steerd; all in one namespace.
struct Internet {
    _steerd: Steerd,
    _root: Server,
    dir: tempfile::TempDir,
    net: Namespace,
}

/// The server of the root and of `example`.
const ROOT: [&str; 2] = ["9.9.9.1", "2a09::1"];

impl Internet {
    /// Makes one; `None` where that cannot be.
    fn make() -> Option<Self> {
        if !are_installed(&["named"]) {
            return None;
        }
        let net = Namespace::make()?;
        for address in NAME_SERVERS.iter().chain(&ROOT) {
            let (bits, nodad) = if address.contains(':') { (128, " nodad") } else { (32, "") };
            net.ip(&format!("addr add {address}/{bits} dev lo{nodad}"));
        }
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("written");
        let ([a, aaaa], [a1, aaaa1, a2, aaaa2]) = (ROOT, NAME_SERVERS);
        let head = "$TTL 3600\n@ SOA a.example. host.example. 1 14400 3600 604800 300\n@ NS a.example.\n";
        let glue = format!("a.example. A {a}\na.example. AAAA {aaaa}\n");
        write("root.zone", format!("{head}example. NS a.example.\n{glue}"));
        write(
            "example.zone",
            format!(
                "{head}{glue}cdn NS ns1.cdn\ncdn NS ns2.cdn\nns1.cdn A {a1}\nns1.cdn AAAA {aaaa1}\n\
                ns2.cdn A {a2}\nns2.cdn AAAA {aaaa2}\n"
            ),
        );
        // Whose address it is can be asked.
        write(
            "arpa.zone",
            format!(
                "{head}*.9.in-addr PTR ns1.cdn.example.\n*.11.in-addr PTR ns2.cdn.example.\n\
                *.1.0.a.2.ip6 PTR ns1.cdn.example.\n*.2.0.b.2.ip6 PTR ns2.cdn.example.\n"
            ),
        );
        write("hints", format!(". 3600 IN NS a.example.\n{}", glue.replace(" A", " 3600 IN A")));
        write(
            "named.conf",
            format!(
                "options {{ directory \"{dir}\"; managed-keys-directory \"{dir}\"; session-keyfile \"{dir}/key\";
pid-file none; listen-on {{ {a}; }}; listen-on-v6 {{ {aaaa}; }}; recursion no; dnssec-validation no;
empty-zones-enable no; allow-transfer {{ none; }}; }};
controls {{ }};
zone \".\" {{ type master; file \"root.zone\"; }};
zone \"example\" {{ type master; file \"example.zone\"; }};
zone \"arpa\" {{ type master; file \"arpa.zone\"; }};
",
                dir = dir.path().display()
            ),
        );
        let mut named = net.command("named");
        named.args(["-g", "-n", "1", "-c", "named.conf"]).current_dir(&dir);
        let _root = Server::start_saying(&mut named, dir.path(), " running\n");
        let listen = NAME_SERVERS.map(|address| match address.contains(':') {
            true => format!("[{address}]:53"),
            false => format!("{address}:53"),
        });
        let config = write_config(dir.path(), &listen);
        let mut steerd = net.command(&crate::harness::binary::path().to_string_lossy());
        let _steerd =
            Steerd::start_as(steerd.args(["serve", "--config"]).arg(config).env("RUST_LOG", "warn"));
        Some(Self { _steerd, _root, dir, net })
    }

    /// A file of it.
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
}

#[test]
fn zonemaster_finds_nothing_to_warn_of() {
    if !are_installed(&["zonemaster-cli"]) {
        return;
    }
    let Some(internet) = Internet::make() else { return };
    let hints = internet.path("hints");
    let mut command = internet.net.command("zonemaster-cli");
    command.args([
        "--hints",
        &hints,
        "--raw",
        "--no-time",
        "--show-testcase",
        "--level",
        "INFO",
        "cdn.example",
    ]);
    let Some(text) = output_of("zonemaster-cli", &mut command) else { return };
    // Short on purpose: a negative TTL of seconds, because services come and go. And no signatures here.
    let known = ["SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER", "NOT_SIGNED", "NEITHER_DNSKEY_NOR_DS"];
    let is_bad = |line: &&str| {
        ["NOTICE", "WARNING", "ERROR", "CRITICAL"].iter().any(|level| line.contains(level))
            && !known.iter().any(|tag| line.contains(tag))
    };
    let bad: Vec<&str> = text.lines().filter(is_bad).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // It did look, at each of the four addresses.
    for tag in
        ["ADDRESSES_MATCH", "ARE_AUTHORITATIVE", "EDNS0_SUPPORT", "CASE_QUERIES_RESULTS_OK", "Z09_MX_DATA"]
    {
        assert!(text.contains(tag), "no {tag} in {text}");
    }
    for address in NAME_SERVERS {
        let looked = |line: &str| line.contains("NO_RECURSOR") && line.ends_with(&format!("/{address}"));
        assert!(text.lines().any(looked), "{address}: {text}");
    }
}

#[test]
fn dnsviz_finds_no_error_and_no_warning() {
    if !are_installed(&["dnsviz"]) {
        return;
    }
    let Some(internet) = Internet::make() else { return };
    let (probed, root) =
        (internet.path("probed.json"), format!(".+:a.example={},a.example=[{}]", ROOT[0], ROOT[1]));
    let names = ["cdn.example", "video.cdn.example", "alias.cdn.example", "nobody.cdn.example"];
    internet.net.run(
        "dnsviz",
        &[&["probe", "-A", "-E", "-n", "-a", ".", "-x", &root, "-o", &probed], &names[..]].concat(),
    );
    let text = internet.net.run("dnsviz", &["grok", "-r", &probed]);
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for name in names {
        let of_name = found[format!("{name}.")].to_string();
        assert!(of_name.contains("NOERROR") || of_name.contains("NXDOMAIN"), "{name}: {text}");
        for kind in ["\"errors\":", "\"warnings\":"] {
            assert!(!of_name.contains(kind), "{name}: {of_name}");
        }
    }
}
