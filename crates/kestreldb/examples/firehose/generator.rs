//! Made-up hits, the same for the same seed: few sites, pages and visitors get most of them, as on the real web.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use crate::Failure;
use crate::hit::Hit;

const SITES: u64 = 200;
const PAGES: u64 = 5_000;
const VISITORS: u64 = 300_000;
const REFERRERS: u64 = 50;

/// The first hit of a new database: the first of January 2026.
const FIRST_MICROS: u64 = 1_767_225_600_000_000;
/// From one hit to the next, at most.
const STEP_MICROS_MAX: u64 = 200;

/// Makes up one hit after the other, each later than the one before.
pub struct Generator {
    random: SmallRng,
    site: Zipf<f64>,
    page: Zipf<f64>,
    visitor: Zipf<f64>,
    referrer: Zipf<f64>,
    time: u64,
}

impl Generator {
    /// Goes on behind `last_time`.
    pub fn new(seed: u64, last_time: Option<u64>) -> Result<Generator, Failure> {
        Ok(Generator {
            random: SmallRng::seed_from_u64(seed),
            site: Zipf::new(SITES as f64, 1.1)?,
            page: Zipf::new(PAGES as f64, 1.05)?,
            visitor: Zipf::new(VISITORS as f64, 0.8)?,
            referrer: Zipf::new(REFERRERS as f64, 1.2)?,
            time: last_time.unwrap_or(FIRST_MICROS),
        })
    }

    pub fn next(&mut self, number: u64) -> Hit {
        let site = self.site.sample(&mut self.random) as u64;
        let page = self.page.sample(&mut self.random) as u64;
        let visitor = self.visitor.sample(&mut self.random) as u64;
        // Half of the visitors typed the address.
        let referrer = if self.random.random_bool(0.5) {
            String::new()
        } else {
            format!("https://search{}.example/", self.referrer.sample(&mut self.random) as u64)
        };
        self.time += self.random.random_range(1..=STEP_MICROS_MAX);
        Hit {
            number,
            time: self.time,
            // Far apart, as real ids are.
            visitor: visitor.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            site: format!("site{site:03}.example").into_bytes(),
            page: format!("/section{}/article{page}", page % 17).into_bytes(),
            referrer: referrer.into_bytes(),
        }
    }
}
