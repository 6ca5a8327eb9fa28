//! Page images: the packed bytes of a page at one timestamp, with a footer that says so.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;

use super::format::{FOOTER, Footer, sectors_for};
use super::space::RunWriter;
use super::{Claim, ImageHeader, ImageWrite, Location, PageStore};
use crate::{Error, PageId};

/// Bytes of a page in memory that an image never carries.
const PAGE_OVERHEAD: u32 = 64;

impl PageStore {
    /// The most packed bytes an image can carry.
    #[must_use]
    pub fn image_capacity(&self) -> u32 {
        self.page_size - PAGE_OVERHEAD
    }

    /// Writes images back to back as far as the gaps allow, and claims their extents. Not synced. If it fails, nothing
    /// stays claimed.
    ///
    /// # Panics
    /// If an image is larger than [`PageStore::image_capacity`].
    pub fn write_images(&self, images: &[ImageWrite<'_>], claim: Claim) -> Result<Vec<Location>, Error> {
        let sizes: Vec<u64> =
            images.iter().map(|image| sectors_for(self.checked_len(image).into())).collect();
        let extents = self.allocate(&sizes, claim)?;
        let mut written = Vec::with_capacity(images.len());
        let mut run = RunWriter::new(self);
        let mut result = Ok(());
        for (image, &extent) in images.iter().zip(&extents) {
            let len = self.checked_len(image);
            let header = ImageHeader { tree: image.tree, timestamp: image.timestamp, len };
            let mut footer = Footer::new(image.page, header, None);
            let footer_bytes = footer.seal(self.seed, &image.parts);
            result = run.add(extent, |buffer| {
                let end = buffer.len() + extent.bytes() as usize;
                for part in image.parts {
                    buffer.extend_from_slice(part);
                }
                buffer.resize(end - FOOTER, 0);
                buffer.extend_from_slice(&footer_bytes);
            });
            if result.is_err() {
                break;
            }
            let location = Location::new(extent.sector, extent.sectors as u8, footer.checksum as u16);
            written.push((location, footer.checksum));
        }
        if let Err(error) = result.and_then(|()| run.flush()) {
            self.release(&extents, claim);
            return Err(error);
        }
        let bytes: u64 = extents.iter().map(|extent| extent.bytes()).sum();
        self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut fresh = self.fresh.lock();
        for &(location, checksum) in &written {
            fresh.insert(location, checksum, claim);
        }
        Ok(written.into_iter().map(|(location, _)| location).collect())
    }

    /// Reads and checks an image: its checksum, whose it is, and whether it is the one that `at` stands for. `out` gets
    /// the packed bytes. What is not that image is damage.
    pub fn read_image(&self, page: PageId, at: Location, out: &mut Vec<u8>) -> Result<ImageHeader, Error> {
        let footer = self.read_sealed_image(page, at, out)?;
        match self.durable_entry(page).filter(|_| !is_planted(Bug::ImageNotIdentified)) {
            Some(entry) if entry.location == at && entry.checksum != footer.checksum => {
                Err(Error::corrupted(Some(page), at.offset(), "this is an older image"))
            }
            _ => Ok(footer.header),
        }
    }

    /// Announces a read of an image.
    pub fn will_need(&self, at: Location) {
        self.file.will_need(at.offset(), at.extent(None).bytes());
    }

    /// Like [`PageStore::read_image`], for whoever has to know the checksum.
    pub(crate) fn read_sealed_image(
        &self,
        page: PageId,
        at: Location,
        out: &mut Vec<u8>,
    ) -> Result<Footer, Error> {
        let damage = |detail: &str| Error::corrupted(Some(page), at.offset(), detail);
        if at.is_blob() {
            return Err(damage("a blob lies where a page image is expected"));
        }
        let extent = at.extent(None);
        out.resize(extent.bytes() as usize, 0);
        self.read(out, extent.offset(), Some(page))?;
        let footer = Footer::open(self.seed, out).map_err(damage)?;
        let len = footer.header.len;
        if is_planted(Bug::ImageNotIdentified) {
            out.truncate(len as usize);
            return Ok(footer);
        }
        if footer.page != page {
            return Err(damage(&format!("an image of {} lies there", footer.page)));
        }
        if footer.blob_checksum.is_some() {
            return Err(damage("a blob lies there"));
        }
        if footer.checksum as u16 != at.tag() {
            return Err(damage("this is an older image"));
        }
        if len > self.image_capacity() || sectors_for(len.into()) != extent.sectors {
            return Err(damage("its length is wrong"));
        }
        out.truncate(len as usize);
        Ok(footer)
    }

    /// Fills `out`; the end of the file is damage.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64, page: Option<PageId>) -> Result<(), Error> {
        match self.file.read_exact_at(out, offset) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Error::corrupted(page, offset, "the file ends before"))
            }
            Err(e) => Err(match page {
                Some(page) => Error::io(format!("reading {page} at byte {offset} of the data file"), e),
                None => Error::io(format!("reading the data file at byte {offset}"), e),
            }),
        }
    }

    fn checked_len(&self, image: &ImageWrite<'_>) -> u32 {
        let len = image.parts[0].len() + image.parts[1].len();
        assert!(len <= self.image_capacity() as usize, "{} has an image of {len} bytes", image.page);
        len as u32
    }
}
