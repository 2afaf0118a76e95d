//! Zero runs, which need not be stored.

/// Zero runs are looked for in steps of this many bytes; shorter ones are
/// stored. Steps of a file system block find hardly more and cost more writes.
const STEP: usize = 16 << 10;

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| piece == &ZEROS[..piece.len()])
}

/// The ranges of `bytes` that hold data, in order; what lies between is zero.
pub(crate) fn data_runs(bytes: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut steps = bytes.chunks(STEP).enumerate().peekable();
    std::iter::from_fn(move || {
        while steps.next_if(|(_, step)| is_zero(step)).is_some() {}
        let (first, step) = steps.next()?;
        let start = first * STEP;
        let mut end = start + step.len();
        while let Some((_, step)) = steps.next_if(|(_, step)| !is_zero(step)) {
            end += step.len();
        }
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_all_data_and_nothing_else_of_a_step() {
        let mut bytes = vec![0; 5 * STEP + 100];
        bytes[STEP] = 1;
        bytes[3 * STEP - 1] = 1;
        bytes[5 * STEP + 99] = 1;
        let runs: Vec<_> = data_runs(&bytes).collect();
        assert_eq!(runs, [STEP..3 * STEP, 5 * STEP..5 * STEP + 100]);
        assert_eq!(data_runs(&[]).count(), 0);
        assert_eq!(data_runs(&vec![0; 3 * STEP]).count(), 0);
    }
}
