//! Processes that MPI connects.

use mpi::{
    Threading,
    environment::{Universe, initialize_with_threading},
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives as _},
};

use super::processes::{MESSAGE_WORDS, Message, Processes};

/// The exit code with which a process that panics ends all.
const UNEXPECTED: i32 = 2;

/// One of the processes that `mpirun` or `srun` started. Errors of MPI itself end all of them.
///
/// It is used in the thread that [starts](Self::start) it. Dropping it waits for the other processes; if it is dropped because
/// of a panic, it ends them.
pub struct Mpi {
    world: SimpleCommunicator,
    /// Dropped last: it ends MPI.
    _universe: Universe,
}

impl Mpi {
    /// Connects this process with the others; `None` if it was connected before.
    pub fn start() -> Option<Self> {
        let (universe, _) = initialize_with_threading(Threading::Funneled)?;
        Some(Self {
            world: universe.world(),
            _universe: universe,
        })
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // The others wait for an exchange that this process does not come to.
        if std::thread::panicking() {
            self.world.abort(UNEXPECTED);
        }
    }
}

impl Processes for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn count(&self) -> usize {
        self.world.size() as usize
    }

    fn gather(&self, mine: &Message) -> Vec<Message> {
        let mut all = vec![0; MESSAGE_WORDS * self.count()];
        self.world.all_gather_into(&mine[..], &mut all[..]);
        let (messages, _) = all.as_chunks();
        messages.to_vec()
    }

    fn exchange_pieces(&self, pieces: &[f32], received: &mut [f32]) {
        self.world.all_to_all_into(pieces, received);
    }

    fn gather_pieces(&self, piece: &[f32], received: &mut [f32]) {
        self.world.all_gather_into(piece, received);
    }
}
