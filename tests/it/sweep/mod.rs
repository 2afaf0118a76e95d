//! Damage and crashes where nobody chose them: each case is a number, from which its
//! place follows.
//!
//! A few cases run every time. `CARDMINT_SWEEP=2000` runs 2,000 of each kind of damage
//! and a tenth as many crashes; `CARDMINT_SWEEP=17-17` runs case 17 once more.

/// Processes killed at any moment.
mod crash;
/// Bytes that are not what they were.
mod damage;
/// Bases of every format with such bytes.
mod formats;
/// What is on the disk when.
mod order;
/// The program on such bytes.
mod program;

use std::env;
use std::fmt::Display;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The base of all of them: quickly read, of several chunks.
const BASE: &str = "tiny";
/// What the damaged file is called; every error has to say it.
const NAME: &str = "base.bin";
/// A case that takes longer hangs, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// The cases to run: `few`, or what the environment asks for, divided by `share`.
fn cases(few: u64, share: u64) -> Range<u64> {
    let Some(text) = env::var_os("CARDMINT_SWEEP") else {
        return 0..few;
    };
    let text = text.to_str().expect("a number or a range");
    let number = |text: &str| text.parse::<u64>().expect("a number or a range");
    match text.split_once('-') {
        Some((first, last)) => number(first)..number(last) + 1,
        None => 0..(number(text) / share).max(few),
    }
}

/// Runs `body` for each case; it says what it did as soon as it knows. Tells of all
/// that failed, and ends the whole run where one hangs.
fn sweep(range: Range<u64>, body: impl Fn(u64, &dyn Fn(&dyn Display))) {
    let at = Mutex::new((Instant::now(), String::new()));
    let over = Mutex::new(false);
    let count = range.end - range.start;
    let failures = thread::scope(|scope| {
        scope.spawn(|| {
            while !*lock(&over) {
                thread::sleep(Duration::from_millis(20));
                let (start, what) = &*lock(&at);
                if start.elapsed() > PATIENCE {
                    eprintln!("hangs: {what}");
                    std::process::abort();
                }
            }
        });
        let mut failures = Vec::new();
        for case in range {
            *lock(&at) = (Instant::now(), format!("CARDMINT_SWEEP={case}-{case}"));
            let say = |what: &dyn Display| {
                lock(&at).1 = format!("CARDMINT_SWEEP={case}-{case}: {what}");
            };
            if catch_unwind(AssertUnwindSafe(|| body(case, &say))).is_err() {
                let what = lock(&at).1.clone();
                eprintln!("failed: {what}");
                failures.push(what);
            }
        }
        *lock(&over) = true;
        failures
    });
    assert!(
        failures.is_empty(),
        "{} of {count} cases failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that follow from a case: splitmix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn of(case: u64) -> Self {
        Self(case.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("below a usize")
    }
}
