use std::sync::atomic::Ordering;

use super::*;
use crate::base::testing::has_tools;

fn recode(container: Container, jobs: usize) -> Recode<'static> {
    static NEVER: std::sync::LazyLock<Interrupt> = std::sync::LazyLock::new(Interrupt::default);
    Recode {
        container,
        effort: effort(1, jobs, &NEVER),
    }
}

fn run(recode: Recode<'_>, source: &MemBase, out: &mut dyn io::Write) -> io::Result<Frames> {
    recode.pieces(source.len(), out, &mut |put| {
        source.0.chunks(1 << 20).try_for_each(put)
    })
}

fn unpack(container: Container, file: &[u8]) -> Vec<u8> {
    match container {
        Container::Xz { .. } => pipe("xz", &["-dc"], file),
        Container::Zst { .. } => pipe("zstd", &["-q", "-dc"], file),
    }
}

#[test]
fn any_bytes_become_frames_that_can_be_spliced() {
    if !has_tools(&["xz", "zstd"]) {
        return;
    }
    const FRAME: usize = 4 << 20;
    for len in [0, 1, FRAME, 3 * FRAME + 512 * 9] {
        let data = image(len, 7);
        let source = MemBase(data.clone());
        for container in [Container::XZ, Container::ZST] {
            let mut file = Vec::new();
            let told = run(recode(container, 2), &source, &mut file).unwrap();
            assert!(
                unpack(container, &file) == data,
                "{container:?}, {len} bytes"
            );
            let file = MemBase(file);
            let read = match container {
                Container::Xz { .. } => Frames::read_xz(&file).unwrap(),
                Container::Zst { .. } => Frames::read_zst(&file).unwrap(),
            };
            assert_eq!(read.container, container);
            assert_eq!(read.list, told.list);
            assert_eq!((read.len, told.len), (len as u64, len as u64));
            assert_eq!(read.list.len(), len.div_ceil(FRAME));

            let overlay = overlay_of(len, &vec![(5_000_002, 7)], 1);
            let spliced = splice(&file, &read, &overlay, 2);
            assert!(unpack(container, &spliced) == minted(&data, &overlay));
        }
    }
}

#[test]
fn neither_jobs_nor_pieces_change_the_file() {
    let data = image(9_000_000, 8);
    for container in [Container::XZ, Container::ZST] {
        let mut one = Vec::new();
        run(recode(container, 1), &MemBase(data.clone()), &mut one).unwrap();
        for (jobs, piece) in [(3, 1_000_003), (2, 9_000_000), (16, 12_345)] {
            let mut other = Vec::new();
            let feed: recode::Feed<'_> = &mut |put| data.chunks(piece).try_for_each(&mut *put);
            recode(container, jobs)
                .pieces(9_000_000, &mut other, feed)
                .unwrap();
            assert!(one == other, "{jobs} jobs, pieces of {piece}");
        }
    }
}

/// Has room for so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn whatever_fails_ends_it() {
    let source = MemBase(image(30_000_000, 9));
    for room in [0, 100, 3_000_000] {
        let result = run(recode(Container::XZ, 2), &source, &mut Full(room));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    let feed: recode::Feed<'_> = &mut |put| {
        put(&source.0)?;
        Err(io::ErrorKind::InvalidData.into())
    };
    let result = recode(Container::ZST, 2).pieces(1, &mut io::sink(), feed);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);

    let interrupt = Interrupt::default();
    interrupt.flag().store(true, Ordering::Relaxed);
    let stopped = Recode {
        container: Container::XZ,
        effort: effort(1, 2, &interrupt),
    };
    let error = run(stopped, &source, &mut io::sink()).unwrap_err();
    assert!(error.into_inner().unwrap().is::<Interrupted>());
    let wrong = Recode {
        container: Container::ZST,
        effort: effort(20, 2, &interrupt),
    };
    let error = run(wrong, &source, &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
