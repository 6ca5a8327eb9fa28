//! Reading a log that may be damaged: every record that is intact, and where there is none.
//!
//! Nothing is changed, and nothing is taken for granted: a segment whose header is bad is read at the place that its name
//! says. What lies behind a bad record is told from a torn tail as [recovery](crate::recover) does: only a later record that
//! says more was durable proves that something is missing, which is then a *hole*.

use std::collections::BTreeMap;
use std::sync::Arc;

use kestrel_io::{Storage, StorageFile};

use crate::cursor;
use crate::error::Error;
use crate::format::{
    DecodedHeader, Layout, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader, lsn_field,
};
use crate::lsn::Lsn;
use crate::options::BASE_MAX;
use crate::recover::Record;
use crate::segments::{Listing, Segments, read_header, segment_name};
use crate::wal::Wal;

/// What lies at a place of a log.
#[derive(Debug)]
pub enum Found {
    /// An intact record.
    Record(Record),
    /// No record, although something durable was there.
    Hole {
        /// Where it begins.
        from: Lsn,
        /// Where the next intact record lies, if there is one.
        to: Option<Lsn>,
        /// What is wrong where it begins, as an error that names the file.
        error: Error,
    },
    /// The log ends here in a part of a record, of which nothing proves that it was ever durable.
    Torn(Lsn),
}

/// A log as it lies in a storage.
#[derive(Debug)]
pub struct LogSurvey {
    segments: Segments,
    bases: Vec<u64>,
    damages: Vec<Error>,
    database: u128,
}

impl LogSurvey {
    /// Looks at the headers of the log in a storage. Without `database`, it is taken from the first intact header.
    ///
    /// # Errors
    /// The files cannot be listed, or a newer program wrote one of them.
    pub fn open(storage: Arc<dyn Storage>, database: Option<u128>) -> Result<LogSurvey, Error> {
        let listing = Listing::read(&*storage)?;
        let mut damages = Vec::new();
        let mut files: BTreeMap<u64, (Arc<dyn StorageFile>, Option<SegmentHeader>)> = BTreeMap::new();
        for base in listing.bases.into_iter().filter(|&base| base <= BASE_MAX) {
            let name = segment_name(base);
            let opened = storage.open(&name).and_then(|file| Ok((read_header(&*file)?, file)));
            match opened {
                Ok((bytes, file)) => match SegmentHeader::decode(&bytes) {
                    DecodedHeader::Newer(found) => {
                        return Err(Error::NewerFormat { found, supported: crate::FORMAT_VERSION });
                    }
                    DecodedHeader::Valid(header) => drop(files.insert(base, (file, Some(header)))),
                    DecodedHeader::Invalid => drop(files.insert(base, (file, None))),
                },
                Err(error) => damages.push(Error::damaged(base, name, format!("it cannot be read: {error}"))),
            }
        }
        let headers = || files.iter().filter_map(|(base, (_, header))| Some((*base, (*header)?)));
        let database = database.or_else(|| headers().next().map(|(_, header)| header.database)).unwrap_or(0);
        let of_this =
            |(base, header): &(u64, SegmentHeader)| header.database == database && header.base == *base;
        let size = headers().find(of_this).map(|(_, header)| header.segment_size);
        let size = size.or_else(|| files.values().find_map(|(file, _)| file.len().ok()));
        let size = size.filter(|&size| crate::options::is_segment_size(size)).unwrap_or(1 << 16);
        let mut table = BTreeMap::new();
        for (base, (file, header)) in files {
            let name = segment_name(base);
            let problem = match header {
                None => Some("its header is damaged".to_owned()),
                Some(header) if header.database != database => {
                    Some("it belongs to another database".to_owned())
                }
                Some(header) if header.base != base => {
                    Some(format!("it is the segment at position {} renamed", header.base))
                }
                Some(_) => match file.len() {
                    Ok(len) if len == size => None,
                    Ok(len) => Some(format!("it has {len} bytes instead of {size}")),
                    Err(error) => Some(format!("it cannot be measured: {error}")),
                },
            };
            damages.extend(problem.map(|problem| Error::damaged(base, name, problem)));
            table.insert(base, file);
        }
        let bases = table.keys().copied().collect();
        let layout = Layout::new(database, size);
        let segments = Segments::new(storage, layout, table, Vec::new());
        Ok(LogSurvey { segments, bases, damages, database })
    }

    /// The database that the log belongs to.
    #[must_use]
    pub fn database(&self) -> u128 {
        self.database
    }

    /// What is wrong with headers and lengths of files.
    #[must_use]
    pub fn damages(&self) -> &[Error] {
        &self.damages
    }

    /// Where the first segment begins.
    #[must_use]
    pub fn first(&self) -> Option<Lsn> {
        self.bases.first().map(|&base| Lsn(base))
    }

    /// The record that starts at a place.
    ///
    /// # Errors
    /// There is no intact one.
    pub fn read(&self, lsn: Lsn) -> Result<Record, Error> {
        let (header, payload) = cursor::read_record(&self.segments, lsn.0)?;
        Ok(Record::new(&header, payload))
    }

    /// Calls `visit` with every record from a place on and with every hole, in order.
    pub fn walk(&self, from: Lsn, mut visit: impl FnMut(Found)) {
        walk(&self.segments, from.0, None, &mut visit);
    }
}

impl Wal {
    /// Reads the durable part of the log from a place on, and the headers of its segments: everything that is damaged there.
    /// Nothing may be recycled meanwhile. `visit` gets the records.
    pub fn verify(&self, from: Lsn, mut visit: impl FnMut(&Record)) -> Vec<Error> {
        let (segments, durable) = (self.segments(), self.durable().0);
        let mut damages = Vec::new();
        for (base, file) in segments.all() {
            let name = segment_name(base);
            match (read_header(&*file), file.len()) {
                (Ok(bytes), Ok(len)) => match SegmentHeader::decode(&bytes) {
                    DecodedHeader::Valid(header)
                        if header.base == base && header.database == segments.layout.database =>
                    {
                        if len != segments.layout.segment_size {
                            let detail = format!("it has {len} bytes instead of {}", header.segment_size);
                            damages.push(Error::damaged(base, name, detail));
                        }
                    }
                    DecodedHeader::Valid(_) => {
                        damages.push(Error::damaged(base, name, "it is another segment"));
                    }
                    _ => damages.push(Error::damaged(base, name, "its header is damaged")),
                },
                (Err(error), _) | (_, Err(error)) => {
                    damages.push(Error::damaged(base, name, format!("it cannot be read: {error}")));
                }
            }
        }
        walk(segments, from.0, Some(durable), &mut |found| match found {
            Found::Record(record) => visit(&record),
            Found::Hole { error, .. } => damages.push(error),
            Found::Torn(_) => {}
        });
        damages
    }
}

/// Walks from a place to the end; or to `durable`, before which everything that is no record is a hole.
fn walk(segments: &Segments, from: u64, durable: Option<u64>, visit: &mut dyn FnMut(Found)) {
    let size = segments.layout.segment_size;
    let mut floor = floor_before(segments, from);
    let mut at = from;
    loop {
        // The beginning of a segment is its header.
        if let Some((base, _)) = segments.holding(at) {
            at = at.max(base + SEGMENT_HEADER as u64);
        }
        if durable.is_some_and(|durable| at >= durable) {
            return;
        }
        let error = match record_at(segments, at) {
            Ok((header, payload)) if header.incarnation >= floor => {
                floor = header.incarnation;
                let end = header.end();
                if !header.is_filler() {
                    visit(Found::Record(Record::new(&header, payload)));
                }
                at = end;
                continue;
            }
            Ok(_) => Error::damaged(
                at,
                segment_name(holding_base(segments, at)),
                "a left-over of an older log lies there",
            ),
            Err(error) => error,
        };
        let Rest { next, proven } = search_rest(segments, at, floor, durable, size);
        if durable.is_none() && !proven && !is_cut(segments, at) {
            if has_begun(segments, at) {
                visit(Found::Torn(Lsn(at)));
            }
            return;
        }
        visit(Found::Hole { from: Lsn(at), to: next.map(Lsn), error });
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// Whether the place, or what lay behind it in its segment, is behind the end of the file: then something may be missing though no
/// record says so. A place that no segment holds was led to by a filler, which is written only once that segment exists.
fn is_cut(segments: &Segments, at: u64) -> bool {
    let Some((_, file)) = segments.holding(at) else { return true };
    file.len().is_ok_and(|len| len < segments.layout.segment_size)
}

/// Whether there is the beginning of a record.
fn has_begun(segments: &Segments, at: u64) -> bool {
    let Some((base, file)) = segments.holding(at) else { return false };
    let mut head = [0; RECORD_HEADER];
    file.read_exact_at(&mut head, at - base).is_ok() && lsn_field(&head, 0) == Some(at)
}

fn holding_base(segments: &Segments, lsn: u64) -> u64 {
    segments.holding(lsn).map_or(lsn, |(base, _)| base)
}

/// The valid record at a place, fillers included; the payload of a filler is empty.
fn record_at(segments: &Segments, lsn: u64) -> Result<(RecordHeader, Vec<u8>), Error> {
    let missing = || Error::damaged(lsn, segment_name(lsn), "the segment is missing");
    let (base, file) = segments.holding(lsn).ok_or_else(missing)?;
    let offset = lsn - base;
    let mut head = [0; RECORD_HEADER];
    let invalid =
        || Error::damaged(lsn, segment_name(base), format!("no intact record lies at byte {offset}"));
    file.read_exact_at(&mut head, offset).map_err(|_| invalid())?;
    let header = segments.layout.decode_record(&head, base, offset).ok_or_else(invalid)?;
    if header.is_filler() {
        return if segments.layout.is_intact(&header, &head) {
            Ok((header, Vec::new()))
        } else {
            Err(invalid())
        };
    }
    cursor::read_record(segments, lsn).map_err(|_| invalid())
}

/// The newest incarnation before a place in its segment.
fn floor_before(segments: &Segments, from: u64) -> u32 {
    let mut floor = 0;
    if let Some((base, _)) = segments.holding(from) {
        let mut budget = 2 * segments.layout.segment_size;
        // What cannot be read there is not needed.
        let _ =
            cursor::search(segments, base, SEGMENT_HEADER as u64..from - base, &mut budget, &mut |header| {
                floor = floor.max(header.incarnation);
                true
            });
    }
    floor
}

/// What lies behind a place where there is no record.
struct Rest {
    /// The next intact record that is not older.
    next: Option<u64>,
    /// Some record says that the place was durable.
    proven: bool,
}

fn search_rest(segments: &Segments, at: u64, floor: u32, durable: Option<u64>, size: u64) -> Rest {
    let mut rest = Rest { next: None, proven: false };
    for (base, _) in segments.all() {
        if base.saturating_add(size) <= at {
            continue;
        }
        let begin = at.saturating_sub(base).max(SEGMENT_HEADER as u64).next_multiple_of(8);
        let mut budget = 2 * size;
        let _ = cursor::search(segments, base, begin..size, &mut budget, &mut |header| {
            let counts = header.incarnation >= floor && header.lsn >= at;
            if counts && durable.is_none_or(|durable| header.lsn < durable) {
                rest.next.get_or_insert(header.lsn);
                rest.proven |= header.durable > at;
            }
            !rest.proven
        });
        if rest.proven {
            break;
        }
    }
    rest
}
