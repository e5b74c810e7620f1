//! The canonical text of a table, as `GET /v1/table` prints it, and its digest.
//!
//! One text a table: first line, sites by code, clusters by name, appliances by cluster and name,
//! services by name, IPv4 routes, IPv6 routes by first address and length. Keys have a fixed order
//! without white space. An appliance's `capacity_mbps` and `status`, a cluster's `serves` and a
//! service's `ttl_s` and `answers_max` are always printed; every other key is left out at its default.
//! Reading the text gives the same table. Layer 3.

use super::Table;
use super::items::{CLASSES, FAMILIES, PLAIN_HTTP, SCHEMES, SERVES, STATUSES, name_of};
use super::json::write_text;
use super::pending::{LOCAL_PREF, ORIGINS};
use super::read::FORMAT;
use super::routes::{Origin, RouteSet, Routes, ViaId};
use crate::fleet::{
    Appliance, Binding, Cluster, ContentKey, Country, Families, Fleet, Pathway, PathwayTarget, PlainHttp,
    Resolver, Service, Site,
};
use crate::prefix::{Bits, Block};
use std::fmt::Write as _;
use std::io;

/// Octets collected before they are written out.
const CHUNK: usize = 1 << 16;

impl Table {
    /// Writes the canonical text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut text = self.fleet_text();
        let routes = self.routes();
        let mut vias = ViaTexts::new(routes, self.fleet());
        write_routes(&routes.v4, &mut vias, &mut text, out)?;
        write_routes(&routes.v6, &mut vias, &mut text, out)?;
        out.write_all(text.as_bytes())
    }

    /// The first line and the fleet's, which are a table of their own.
    pub(super) fn fleet_text(&self) -> String {
        let mut text = String::with_capacity(CHUNK * 2);
        let _ = write!(text, "{{\"table\":{{\"format\":{FORMAT},\"epoch\":{}", self.epoch());
        if !self.source().is_empty() {
            key_text(&mut text, ",\"source\":", self.source());
        }
        text.push_str("}}\n");
        let fleet = self.fleet();
        for site in fleet.sites() {
            write_site(&mut text, site);
        }
        for cluster in fleet.clusters() {
            write_cluster(&mut text, fleet, cluster);
        }
        for appliance in fleet.appliances() {
            write_appliance(&mut text, fleet, appliance);
        }
        for service in fleet.services() {
            write_service(&mut text, fleet, service);
        }
        for resolver in fleet.resolvers() {
            write_resolver(&mut text, resolver);
        }
        text
    }

    /// SHA-256 of the canonical text, in lower-case hexadecimal; worked out when first asked for.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let mut hash = Hash(ring::digest::Context::new(&ring::digest::SHA256));
            self.write(&mut hash).unwrap_or_else(|_| unreachable!("hashing has no errors"));
            hex(hash.0.finish().as_ref())
        })
    }
}

/// Lower-case hexadecimal digits of `bytes`.
fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// A digest as something to write to.
struct Hash(ring::digest::Context);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends `key` (with its comma and colon) and a string.
fn key_text(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    write_text(out, value);
}

/// Appends `key` and a list of strings, unless it is empty.
fn key_texts<'a>(out: &mut String, key: &str, values: impl IntoIterator<Item = &'a str>) {
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return };
    out.push_str(key);
    out.push('[');
    write_text(out, first);
    for value in values {
        out.push(',');
        write_text(out, value);
    }
    out.push(']');
}

/// Appends a site's line.
fn write_site(out: &mut String, site: &Site) {
    key_text(out, "{\"site\":{\"code\":", &site.code);
    let _ = write!(out, ",\"lat\":{}", serde_json::Value::from(site.lat));
    let _ = write!(out, ",\"lon\":{}", serde_json::Value::from(site.lon));
    if !site.name.is_empty() {
        key_text(out, ",\"name\":", &site.name);
    }
    out.push_str("}}\n");
}

/// Appends a cluster's line.
fn write_cluster(out: &mut String, fleet: &Fleet, cluster: &Cluster) {
    key_text(out, "{\"cluster\":{\"name\":", &cluster.name);
    key_text(out, ",\"site\":", &fleet.site(cluster.site).code);
    key_text(out, ",\"class\":", name_of(&CLASSES, cluster.class));
    key_text(out, ",\"serves\":", name_of(&SERVES, cluster.serves));
    key_texts(out, ",\"tags\":", cluster.tags.iter().map(|tag| &**tag));
    out.push_str("}}\n");
}

/// Appends an appliance's line.
fn write_appliance(out: &mut String, fleet: &Fleet, appliance: &Appliance) {
    key_text(out, "{\"appliance\":{\"name\":", &appliance.name);
    key_text(out, ",\"cluster\":", &fleet.cluster(appliance.cluster).name);
    if let Some(addr) = appliance.ipv4 {
        let _ = write!(out, ",\"ipv4\":\"{addr}\"");
    }
    if let Some(addr) = appliance.ipv6 {
        let _ = write!(out, ",\"ipv6\":\"{addr}\"");
    }
    if !appliance.hostname.is_empty() {
        key_text(out, ",\"hostname\":", &appliance.hostname);
    }
    let _ = write!(out, ",\"capacity_mbps\":{}", appliance.capacity_mbps);
    key_text(out, ",\"status\":", name_of(&STATUSES, appliance.status));
    key_texts(out, ",\"tags\":", appliance.tags.iter().map(|tag| &**tag));
    out.push_str("}}\n");
}

/// Appends a resolver's line.
fn write_resolver(out: &mut String, resolver: &Resolver) {
    let _ = write!(out, "{{\"resolver\":{{\"prefix\":\"{}\"", resolver.prefix);
    let clients: Vec<String> = resolver.clients.iter().map(ToString::to_string).collect();
    key_texts(out, ",\"clients\":", clients.iter().map(|prefix| &**prefix));
    out.push_str("}}\n");
}

/// Appends a service's line.
fn write_service(out: &mut String, fleet: &Fleet, service: &Service) {
    key_text(out, "{\"service\":{\"name\":", &service.name);
    let _ = write!(out, ",\"ttl_s\":{},\"answers_max\":{}", service.ttl_s, service.answers_max);
    key_texts(out, ",\"tags\":", service.tags.iter().map(|tag| &**tag));
    let clusters = service.default_clusters.iter().map(|&id| &*fleet.cluster(id).name);
    key_texts(out, ",\"default_clusters\":", clusters);
    if let Some(alias) = &service.fallback_alias {
        key_text(out, ",\"fallback_alias\":", alias);
    }
    if let Some(alias) = &service.denied_alias {
        key_text(out, ",\"denied_alias\":", alias);
    }
    if service.families != Families::default() {
        key_text(out, ",\"families\":", name_of(&FAMILIES, service.families));
    }
    match &service.content_key {
        ContentKey::Path => {}
        ContentKey::PathRegex(regex) => {
            key_text(out, ",\"content_key\":{\"path_regex\":", regex.as_str());
            out.push('}');
        }
        ContentKey::Query(names) => {
            key_texts(out, ",\"content_key\":{\"query\":", names.iter().map(|name| &**name));
            out.push('}');
        }
    }
    write_geo(out, &service.geo.allow, &service.geo.deny);
    if let Some(scheme) = service.scheme {
        key_text(out, ",\"scheme\":", name_of(&SCHEMES, scheme));
    }
    if let Some(port) = service.port {
        let _ = write!(out, ",\"port\":{port}");
    }
    if service.plain_http != PlainHttp::Serve {
        key_text(out, ",\"plain_http\":", name_of(&PLAIN_HTTP, service.plain_http));
    }
    if let Some(seconds) = service.hsts_s {
        let _ = write!(out, ",\"hsts_s\":{seconds}");
    }
    key_texts(out, ",\"methods\":", service.methods.iter().map(|method| &**method));
    for (index, pathway) in service.pathways.iter().enumerate() {
        out.push_str(if index == 0 { ",\"pathways\":[" } else { "," });
        write_pathway(out, pathway);
    }
    if !service.pathways.is_empty() {
        out.push(']');
    }
    if let Some(base) = &service.clone_base {
        key_text(out, ",\"clone_base\":", base);
    }
    for (key, binding) in [(",\"https\":{", &service.https), (",\"svcb\":{", &service.svcb)] {
        let Some(Binding { alpn, hints }) = binding else { continue };
        out.push_str(key);
        key_texts(out, "\"alpn\":", alpn.iter().map(|id| &**id));
        let comma = if alpn.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}\"hints\":{hints}}}");
    }
    if !service.health_check.is_empty() {
        out.push_str(",\"health_check\":");
        out.push_str(&service.health_check);
    }
    out.push_str("}}\n");
}

/// Appends `geo`, unless it has no rule.
fn write_geo(out: &mut String, allow: &[Country], deny: &[Country]) {
    if allow.is_empty() && deny.is_empty() {
        return;
    }
    out.push_str(",\"geo\":{");
    key_texts(out, "\"allow\":", allow.iter().map(Country::as_str));
    if !allow.is_empty() && !deny.is_empty() {
        out.push(',');
    }
    key_texts(out, "\"deny\":", deny.iter().map(Country::as_str));
    out.push('}');
}

/// Appends one pathway.
fn write_pathway(out: &mut String, pathway: &Pathway) {
    key_text(out, "{\"id\":", &pathway.id);
    match &pathway.target {
        PathwayTarget::Class(class) => key_text(out, ",\"class\":", name_of(&CLASSES, *class)),
        PathwayTarget::Cluster(name) => key_text(out, ",\"cluster\":", name),
        PathwayTarget::Clusters(names) => key_texts(out, ",\"clusters\":", names.iter().map(|name| &**name)),
        PathwayTarget::Rank(rank) => _ = write!(out, ",\"rank\":{rank}"),
        PathwayTarget::Alias(name) => key_text(out, ",\"alias\":", name),
    }
    if let Some(base) = &pathway.clone_of {
        key_text(out, ",\"clone_of\":", base);
    }
    out.push('}');
}

/// The texts of sets of candidates, each made once.
struct ViaTexts<'a> {
    routes: &'a Routes,
    fleet: &'a Fleet,
    texts: String,
    /// Where in `texts` a set's text is; an empty range: not made yet.
    at: Vec<(usize, usize)>,
}

impl<'a> ViaTexts<'a> {
    /// None made yet.
    fn new(routes: &'a Routes, fleet: &'a Fleet) -> Self {
        Self { routes, fleet, texts: String::new(), at: vec![(0, 0); routes.vias.len()] }
    }

    /// The text of set `id`.
    fn get(&mut self, id: ViaId) -> &str {
        if self.at[id.index()].1 == 0 {
            let start = self.texts.len();
            self.make(id);
            self.at[id.index()] = (start, self.texts.len());
        }
        let (start, end) = self.at[id.index()];
        &self.texts[start..end]
    }

    /// Appends the text of set `id`.
    fn make(&mut self, id: ViaId) {
        let out = &mut self.texts;
        for (index, candidate) in self.routes.vias.get(id).iter().enumerate() {
            let open = if index == 0 { "[{\"cluster\":" } else { ",{\"cluster\":" };
            key_text(out, open, &self.fleet.cluster(candidate.cluster).name);
            if candidate.local_pref != LOCAL_PREF {
                let _ = write!(out, ",\"local_pref\":{}", candidate.local_pref);
            }
            if candidate.as_path_len != 0 {
                let _ = write!(out, ",\"as_path_len\":{}", candidate.as_path_len);
            }
            if candidate.origin != Origin::default() {
                key_text(out, ",\"origin\":", name_of(&ORIGINS, candidate.origin));
            }
            if candidate.med != 0 {
                let _ = write!(out, ",\"med\":{}", candidate.med);
            }
            out.push('}');
        }
        out.push(']');
    }
}

/// Writes the lines of one family; `text` holds what is not written out yet.
fn write_routes<B: Bits>(
    set: &RouteSet<B>,
    vias: &mut ViaTexts<'_>,
    text: &mut String,
    out: &mut impl io::Write,
) -> io::Result<()> {
    for (block, via) in set.iter() {
        text.push_str("{\"route\":{\"prefix\":\"");
        push_block(text, block);
        text.push_str("\",\"via\":");
        text.push_str(vias.get(via));
        text.push_str("}}\n");
        if text.len() >= CHUNK {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    Ok(())
}

/// Appends a prefix; IPv4 without the formatting machinery, because there are a million.
fn push_block<B: Bits>(out: &mut String, block: Block<B>) {
    if B::LEN != 32 {
        let _ = write!(out, "{block}");
        return;
    }
    let [a, b, c, d] = (block.first().widen() as u32).to_be_bytes();
    for (mark, octet) in [("", a), (".", b), (".", c), (".", d), ("/", block.len())] {
        out.push_str(mark);
        if octet >= 100 {
            out.push(char::from(b'0' + octet / 100));
        }
        if octet >= 10 {
            out.push(char::from(b'0' + octet / 10 % 10));
        }
        out.push(char::from(b'0' + octet % 10));
    }
}

#[cfg(test)]
mod tests {
    use crate::table::read::tests::{SMALL, table};

    /// The canonical text of `text`.
    fn canonical(text: &str) -> String {
        let mut out = Vec::new();
        table(text).write(&mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("tables are UTF-8")
    }

    #[test]
    fn the_canonical_text_is_fixed() {
        let expected = r#"{"table":{"format":1,"epoch":42,"source":"inventory-eu"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76,"name":"Amsterdam"}}
{"site":{"code":"fra1","lat":50.0,"lon":8.5}}
{"cluster":{"name":"ams1-isp7","site":"ams1","class":"embedded","serves":"routed","tags":["4k"]}}
{"cluster":{"name":"fra1-any","site":"fra1","class":"transit","serves":"any"}}
{"appliance":{"name":"ams1-c001","cluster":"ams1-isp7","ipv4":"192.0.2.10","ipv6":"2001:db8::10","hostname":"ams1-c001.cdn.example","capacity_mbps":40000,"status":"active"}}
{"appliance":{"name":"fra1-c001","cluster":"fra1-any","ipv4":"192.0.2.20","hostname":"fra1-c001.cdn.example","capacity_mbps":10000,"status":"active","tags":["4k","b"]}}
{"service":{"name":"*.live.cdn.example","ttl_s":0,"answers_max":2,"denied_alias":"sorry.example","families":"together","content_key":{"path_regex":"^/v/([^/]+)/"},"geo":{"allow":["DE","NL"]},"scheme":"https","port":8443,"plain_http":"redirect","hsts_s":31536000,"methods":["GET","HEAD"],"pathways":[{"id":"emb","class":"embedded"},{"id":"fra1","cluster":"fra1-any"},{"id":"other","alias":"x.other.example"},{"id":"far","clusters":["fra*","fra1-any"],"clone_of":"fra1"},{"id":"one","rank":1}],"clone_base":"emb","health_check":{"every_s":5,"path":"/up"}}}
{"service":{"name":"video.cdn.example","ttl_s":30,"answers_max":2,"tags":["4k"],"default_clusters":["fra1-any"],"fallback_alias":"video.other-cdn.example"}}
{"route":{"prefix":"0.0.0.0/0","via":[{"cluster":"fra1-any"}]}}
{"route":{"prefix":"198.51.100.0/24","via":[{"cluster":"ams1-isp7","as_path_len":1}]}}
{"route":{"prefix":"2001:db8::/32","via":[{"cluster":"ams1-isp7"},{"cluster":"fra1-any","med":7}]}}
"#;
        assert_eq!(canonical(SMALL), expected);
        assert_eq!(canonical(expected), expected);
        assert_eq!(table(SMALL), table(expected));
        let digest = ring::digest::digest(&ring::digest::SHA256, expected.as_bytes());
        assert_eq!(table(SMALL).digest(), &*super::hex(digest.as_ref()));
    }

    #[test]
    fn odd_values_survive() {
        let odd = r#"{"table":{"format":1,"epoch":1,"source":"a \"b\" \\ ü"}}
{"site":{"code":"ü\"\\","lat":-0.0,"lon":1e-7}}
{"service":{"name":"q.example","content_key":{"query":["id","b\"c"]},"geo":{"deny":["kp"],"allow":["NL"]},"health_check":{"b":[1,2.5,{}],"a":[]}}}
"#;
        let text = canonical(odd);
        assert!(text.contains(r#""geo":{"allow":["NL"],"deny":["KP"]}"#), "{text}");
        assert!(text.contains(r#""lat":0.0"#), "{text}");
        assert_eq!(canonical(&text), text);
        assert_eq!(table(odd), table(&text));
    }
}
