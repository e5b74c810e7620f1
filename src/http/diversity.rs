//! That a list is not all of one failure domain: who has it may try something else when all of a cluster, or of
//! a place, is out of reach for a reason that health does not know.
//!
//! Of the `count` places of a list the first `count - 1` are the best by rank, whatever they are of. The last
//! one is the best by rank too, unless all before it are of one site and the client's list has another:
//! then it is the best of another site; else, unless they are of one cluster and there is another: the best of
//! another cluster. So a list of one is the best alone, and rank is never changed among those that are listed.

use crate::fleet::{ApplianceId, Fleet};

/// At most `count` of `ranked`, best first, the last one chosen for being elsewhere.
pub(super) fn diverse(fleet: &Fleet, ranked: &[ApplianceId], count: usize) -> Vec<ApplianceId> {
    let mut first: Vec<ApplianceId> = ranked.iter().take(count).copied().collect();
    let (Some((_, head @ [_, ..])), true) = (first.split_last(), ranked.len() > count) else { return first };
    let cluster = |id: &ApplianceId| fleet.appliance(*id).cluster;
    let site = |id: &ApplianceId| fleet.cluster(cluster(id)).site;
    let one_site = head.iter().all(|id| site(id) == site(&head[0]));
    let one_cluster = head.iter().all(|id| cluster(id) == cluster(&head[0]));
    let rest = &ranked[count - 1..];
    let elsewhere = rest.iter().find(|id| one_site && site(id) != site(&head[0]));
    let elsewhere =
        elsewhere.or_else(|| rest.iter().find(|id| one_cluster && cluster(id) != cluster(&head[0])));
    if let (Some(id), Some(last)) = (elsewhere.copied(), first.last_mut()) {
        *last = id;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read_full;

    /// Ranks appliances, named by cluster and a digit; clusters a and b are of one site, c of another.
    fn check(ranked: &str, count: usize, expected: &str) {
        let mut table = String::from("{\"table\":{\"format\":1,\"epoch\":1}}\n");
        for (cluster, site) in [("a", "x"), ("b", "x"), ("c", "y")] {
            if cluster != "b" {
                table += &format!("{{\"site\":{{\"code\":\"{site}\",\"lat\":0,\"lon\":0}}}}\n");
            }
            table += &format!(
                "{{\"cluster\":{{\"name\":\"{cluster}\",\"site\":\"{site}\",\"class\":\"transit\"}}}}\n"
            );
            for number in 1..=4 {
                let addr = format!("192.0.2.{}", u32::from(cluster.as_bytes()[0]) + 10 * number);
                table += &format!(
                    "{{\"appliance\":{{\"name\":\"{cluster}{number}\",\"cluster\":\"{cluster}\",\"ipv4\":\"{addr}\"}}}}\n"
                );
            }
        }
        let table = read_full(table.as_bytes()).expect("a valid table").table;
        let fleet = table.fleet();
        let id = |name: &str| fleet.appliance_by_name(name).expect("an appliance");
        let ranked: Vec<_> = ranked.split(' ').map(id).collect();
        let found = diverse(fleet, &ranked, count);
        let names: Vec<&str> = found.iter().map(|id| &*fleet.appliance(*id).name).collect();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn the_last_is_elsewhere_where_all_before_it_are_not() {
        check("a1 a2 a3 a4 b1 c1", 3, "a1 a2 c1");
        check("a1 a2 a3 a4 b1 b2", 3, "a1 a2 b1");
        check("a1 b1 a2 a3 c1 c2", 3, "a1 b1 c1");
        check("a1 c1 a2 a3 b1", 3, "a1 c1 a2");
        check("a1 a2 b1 a3 a4", 3, "a1 a2 b1");
        check("a1 a2 c1 b1", 3, "a1 a2 c1");
        check("a1 a2 a3 a4", 3, "a1 a2 a3");
        check("a1 a2 c1", 8, "a1 a2 c1");
        check("a1 c1", 2, "a1 c1");
        check("a1 a2 c1", 2, "a1 c1");
        check("a1 c1", 1, "a1");
    }
}
