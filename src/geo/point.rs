//! Places on the earth, and how far apart they are.
//!
//! Owns the published distance function; knows nothing of addresses. Layer 2.
//!
//! Distance decides between servers that must agree, so it is fixed to the bit: the earth is a
//! sphere of radius 6371.0088 km (the mean radius R1 of GRS 80), sine, cosine, arc tangent and root
//! are those of the `libm` crate on every platform, and the result is rounded half up to whole km.
//!
//! With `a` and `b` as unit vectors, `d = R · atan2(|a × b|, a · b)`, `km = floor(d + 0.5)`.
//! That form is accurate for neighbours and antipodes alike. Test vectors (latitude, longitude):
//!
//! | from | to | km |
//! |---|---|---|
//! | 52.3086, 4.76389 (AMS) | −23.4356, −46.4731 (GRU) | 9775 |
//! | 40.47, −3.57 (MAD) | 37.37, −121.93 (SJC) | 9326 |
//! | 35.77, 140.39 (NRT) | 37.37, −121.93 (SJC) | 8275 |
//! | 0, 179.5 | 0, −179.5 | 111 |
//! | 10, 180 | 10, −180 | 0 |
//! | 90, 0 | 90, 135 | 0 |
//! | 90, 0 | −90, 77 | 20015 |
//! | 0, 0 | 0, 180 | 20015 |
//! | 0, 0 | 0, 90 | 10008 |
//! | 12.5, 34.5 | 12.5, 34.5 | 0 |
//! | 12.5, 34.5 | −12.5, −145.5 | 20015 |

use crate::units::Km;

/// Radius of the sphere, in kilometres.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A place: latitude and longitude, and the same as a unit vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Degrees north, −90 to 90.
    lat: f64,
    /// Degrees east, −180 to 180.
    lon: f64,
    /// Towards 0,0; towards 0,90; towards the north pole.
    unit: [f64; 3],
}

impl Point {
    /// The place at `lat` degrees north (−90 to 90) and `lon` degrees east (−180 to 180); `None`
    /// outside these and for NaN.
    pub fn new(lat: f64, lon: f64) -> Option<Self> {
        if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lon) {
            return None;
        }
        let (north, east) = (lat.to_radians(), lon.to_radians());
        let ring = libm::cos(north);
        let unit = [ring * libm::cos(east), ring * libm::sin(east), libm::sin(north)];
        Some(Self { lat, lon, unit })
    }

    /// Cosine of the angle to `other`, seen from the centre of the earth: falls with distance.
    pub fn cosine_to(&self, other: &Self) -> f64 {
        self.unit.iter().zip(other.unit).map(|(a, b)| a * b).sum()
    }

    /// Degrees north.
    pub fn lat(&self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub fn lon(&self) -> f64 {
        self.lon
    }
}

/// The great-circle distance from `a` to `b`, 0 to 20,015 km; the same in both directions.
///
/// Cost: one arc tangent and one root; sines and cosines were taken when the points were made.
pub fn distance(a: &Point, b: &Point) -> Km {
    let ([ax, ay, az], [bx, by, bz]) = (a.unit, b.unit);
    let (cx, cy, cz) = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx);
    let sine = libm::sqrt(cx * cx + cy * cy + cz * cz);
    let cosine = ax * bx + ay * by + az * bz;
    let km = libm::floor(EARTH_RADIUS_KM * libm::atan2(sine, cosine) + 0.5);
    // Half the circumference is 20,015 km, so the cast keeps every value.
    Km(km as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Point {
        Point::new(lat, lon).expect("test points are in range")
    }

    fn check(a: (f64, f64), b: (f64, f64), km: u16) {
        let (a, b) = (at(a.0, a.1), at(b.0, b.1));
        assert_eq!(distance(&a, &b), Km(km), "{a:?} to {b:?}");
        assert_eq!(distance(&b, &a), Km(km), "{b:?} to {a:?}");
    }

    #[test]
    fn published_vectors() {
        check((52.3086, 4.76389), (-23.4356, -46.4731), 9775);
        check((40.47, -3.57), (37.37, -121.93), 9326);
        check((35.77, 140.39), (37.37, -121.93), 8275);
        check((0.0, 179.5), (0.0, -179.5), 111);
        check((10.0, 180.0), (10.0, -180.0), 0);
        check((90.0, 0.0), (90.0, 135.0), 0);
        check((90.0, 0.0), (-90.0, 77.0), 20_015);
        check((0.0, 0.0), (0.0, 180.0), 20_015);
        check((0.0, 0.0), (0.0, 90.0), 10_008);
        check((12.5, 34.5), (12.5, 34.5), 0);
        check((12.5, 34.5), (-12.5, -145.5), 20_015);
        check((0.0, 0.0), (-0.0, -0.0), 0);
    }

    #[test]
    fn only_places_on_earth_are_points() {
        for (lat, lon) in [(90.1, 0.0), (-90.1, 0.0), (0.0, 180.1), (0.0, -180.1), (f64::NAN, 0.0)] {
            assert!(Point::new(lat, lon).is_none(), "{lat}, {lon}");
        }
        assert!(Point::new(0.0, f64::INFINITY).is_none());
        assert!(Point::new(-90.0, -180.0).is_some());
    }

    /// The slow twin: the haversine formula with the platform's own functions.
    fn haversine_km(a: &Point, b: &Point) -> f64 {
        let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
        let (dlat, dlon) = (lat_b - lat_a, (b.lon - a.lon).to_radians());
        let h = (dlat / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (dlon / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }

    #[test]
    fn agrees_with_haversine() {
        let mut state = 7u64;
        let mut next = |span: f64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * span
        };
        for _ in 0..20_000 {
            let (a, b) = (at(next(180.0), next(360.0)), at(next(180.0), next(360.0)));
            let km = f64::from(distance(&a, &b).0);
            assert!((km - haversine_km(&a, &b)).abs() < 0.51, "{a:?} {b:?} {km}");
        }
    }
}
