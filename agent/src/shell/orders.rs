//! Carries out what the core orders of the durable queue: one order after the other, on the queue's thread, and what comes of
//! it back to the loop. An order that finds the thread busy waits here, with all that follow it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spool::{Files, SpoolHandle, Unsubmitted};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::core::agent::{Input, Order, carry_out};
use crate::core::pacing::DayCount;

/// Pause before a busy thread is asked again: it syncs, which takes a slow card some hundred of these.
const BUSY_AGAIN: Duration = Duration::from_millis(5);

/// Own records that wait for a busy thread. Of the other orders there are never more than a few for each stream, since the
/// courier waits for what comes of them.
const KEEP_MAX: usize = 256;

/// File in the spool's folder with what was sent in the current day.
const DAY_FILE: &str = "user-day";

/// The first line of that file; the second has bytes and milliseconds.
const DAY_WORD: &str = "outrider-day 1";

/// Orders that wait, and what came of those that were carried out.
#[derive(Debug)]
pub struct Orders {
    folder: PathBuf,
    waiting: VecDeque<Order>,
    again_at: Option<Instant>,
    told: mpsc::UnboundedSender<Input>,
    /// What came of orders, for the core.
    pub answers: mpsc::UnboundedReceiver<Input>,
}

impl Orders {
    /// For the spool in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Orders {
        let (told, answers) = mpsc::unbounded_channel();
        Orders {
            folder: folder.to_owned(),
            waiting: VecDeque::new(),
            again_at: None,
            told,
            answers,
        }
    }

    /// Whether there is anything to carry out.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When [`Orders::work`] is due, if it is.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.again_at
    }

    /// Takes an order; [`Orders::work`] carries it out.
    pub fn take(&mut self, order: Order) {
        match order {
            Order::Keep { stream, stored } if self.waiting.len() >= KEEP_MAX => {
                self.tell(Input::Kept { stream, stored, name: None });
            }
            order => {
                // Answers to what was fetched before are of no use.
                if let Order::Rewind(of) = order {
                    self.waiting.retain(|waits| {
                        !matches!(waits, Order::Fetch { stream, .. } | Order::Rewind(stream) if *stream == of)
                    });
                }
                self.waiting.push_back(order);
            }
        }
    }

    /// Carries out what waits, as far as the thread takes it. Without a spool nothing is kept and nothing handed out.
    pub fn work(&mut self, spool: Option<&SpoolHandle<Files>>) {
        self.again_at = None;
        while let Some(order) = self.waiting.pop_front() {
            let done = match spool {
                Some(spool) => self.hand_over(spool, &order),
                None => Err(Unsubmitted::Stopped),
            };
            match (done, order) {
                (Ok(()), _) => {}
                (Err(Unsubmitted::Busy), order) => {
                    self.waiting.push_front(order);
                    self.again_at = Some(Instant::now() + BUSY_AGAIN);
                    return;
                }
                (Err(Unsubmitted::Stopped), Order::Keep { stream, stored }) => {
                    self.tell(Input::Kept { stream, stored, name: None });
                }
                // The thread has ended: so has the agent, or soon will.
                (Err(Unsubmitted::Stopped), _) => {}
            }
        }
    }

    /// What was saved of the day, none if that cannot be read.
    #[must_use]
    pub fn saved_day(&self) -> Option<DayCount> {
        let text = std::fs::read_to_string(self.folder.join(DAY_FILE)).ok()?;
        let mut lines = text.lines();
        if lines.next()? != DAY_WORD {
            return None;
        }
        let (bytes, elapsed_ms) = lines.next()?.split_once(' ')?;
        Some(DayCount { bytes: bytes.parse().ok()?, elapsed_ms: elapsed_ms.parse().ok()? })
    }

    fn tell(&self, input: Input) {
        // The other end is in the same struct.
        let _ = self.told.send(input);
    }

    fn hand_over(&self, spool: &SpoolHandle<Files>, order: &Order) -> Result<(), Unsubmitted> {
        let told = self.told.clone();
        if let Order::SaveDay(day) = *order {
            let folder = self.folder.clone();
            return spool.run(move |_, _| {
                if let Err(error) = save_day(&folder, day) {
                    tracing::warn!(
                        "cannot write {DAY_FILE} in {}: {error}; after a restart the cap of the day is too wide",
                        folder.display()
                    );
                }
            });
        }
        let order = order.clone();
        spool.run(move |spool, now| {
            if let Some(input) = carry_out(spool, order, now) {
                let _ = told.send(input);
            }
        })
    }
}

/// Replaces the file as a whole, so that a power cut leaves the one or the other.
fn save_day(folder: &Path, day: DayCount) -> io::Result<()> {
    let new = folder.join(format!("{DAY_FILE}.new"));
    let mut file = File::create(&new)?;
    file.write_all(format!("{DAY_WORD}\n{} {}\n", day.bytes, day.elapsed_ms).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, folder.join(DAY_FILE))
}
