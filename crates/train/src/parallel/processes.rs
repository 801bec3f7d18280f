//! What processes must be able to do to train together, and the process that is alone.

/// Words of a [`Message`].
pub const MESSAGE_WORDS: usize = 32;

/// What one process tells all others at a time.
pub type Message = [u64; MESSAGE_WORDS];

/// The processes that train one student. All of them make the same calls in the same order; each call waits for all.
///
/// A call does not fail: an implementation whose connection breaks ends the process.
pub trait Processes {
    /// The number of this process, counted from 0.
    fn rank(&self) -> usize;

    /// How many processes there are, at least 1.
    fn count(&self) -> usize;

    /// Tells all processes this message, and returns those of all, in the order of the processes.
    fn gather(&self, mine: &Message) -> Vec<Message>;

    /// Sends each process its piece of `pieces`, and receives the piece of every process that is this one's.
    ///
    /// # Shapes
    ///
    /// Both slices hold one piece for each process, in their order; all pieces of all processes have the same length.
    fn exchange_pieces(&self, pieces: &[f32], received: &mut [f32]);

    /// Sends all processes this piece, and receives those of all.
    ///
    /// # Shapes
    ///
    /// `received` holds one piece for each process, in their order; all have the length of `piece`.
    fn gather_pieces(&self, piece: &[f32], received: &mut [f32]);
}

/// One process, which has nobody to talk to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Processes for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn gather(&self, mine: &Message) -> Vec<Message> {
        vec![*mine]
    }

    fn exchange_pieces(&self, pieces: &[f32], received: &mut [f32]) {
        received.copy_from_slice(pieces);
    }

    fn gather_pieces(&self, piece: &[f32], received: &mut [f32]) {
        received.copy_from_slice(piece);
    }
}
