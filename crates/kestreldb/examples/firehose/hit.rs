//! One page view.

/// The longest name of a site that is kept, in bytes.
pub const SITE_MAX: usize = 200;
/// The longest path of a page that is kept, in bytes.
pub const PAGE_MAX: usize = 700;

/// Somebody looked at a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Counts all hits of a database.
    pub number: u64,
    /// Microseconds since 1970, or whatever the input counts.
    pub time: u64,
    pub visitor: u64,
    /// Without zero bytes, as they separate it from the page in keys.
    pub site: Vec<u8>,
    /// Without zero bytes.
    pub page: Vec<u8>,
    pub referrer: Vec<u8>,
}

impl Hit {
    /// Every field counts. Fingerprints of many hits are added up, which gives the same in any order.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        for number in [self.number, self.time, self.visitor] {
            hash.write(&number.to_le_bytes());
        }
        for text in [&self.site, &self.page, &self.referrer] {
            hash.write(&(text.len() as u64).to_le_bytes());
            hash.write(text);
        }
        hash.finish()
    }
}

/// The FNV-1a hash, finished by a multiplication and shifts that let every input bit reach every output bit.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xCBF2_9CE4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    }
}

/// A number for a visitor that the input names in some other way.
pub fn visitor_from_name(name: &[u8]) -> u64 {
    let mut hash = Fnv::new();
    hash.write(name);
    hash.finish()
}
