//! Threads that stand in for processes, in tests.

use std::{
    sync::{Barrier, Mutex},
    thread,
};

use super::processes::{Message, Processes};

/// Where threads meet.
struct Room {
    barrier: Barrier,
    messages: Mutex<Vec<Message>>,
    pieces: Mutex<Vec<Vec<f32>>>,
}

/// One of the threads.
pub(crate) struct InThread<'a> {
    rank: usize,
    count: usize,
    room: &'a Room,
}

/// Runs `work` in so many threads, and returns the results in their order.
pub(crate) fn together<T: Send>(count: usize, work: impl Fn(&InThread<'_>) -> T + Sync) -> Vec<T> {
    let room = Room {
        barrier: Barrier::new(count),
        messages: Mutex::new(vec![[0; super::MESSAGE_WORDS]; count]),
        pieces: Mutex::new(vec![Vec::new(); count]),
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|rank| {
                let (room, work) = (&room, &work);
                scope.spawn(move || work(&InThread { rank, count, room }))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

impl InThread<'_> {
    /// Leaves `mine` for the others, and takes what `take` makes of what all have left.
    fn meet<M: Clone, T>(&self, table: &Mutex<Vec<M>>, mine: M, take: impl FnOnce(&[M]) -> T) -> T {
        table.lock().unwrap()[self.rank] = mine;
        self.room.barrier.wait();
        let taken = take(&table.lock().unwrap().clone());
        self.room.barrier.wait();
        taken
    }
}

impl Processes for InThread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn gather(&self, mine: &Message) -> Vec<Message> {
        self.meet(&self.room.messages, *mine, <[Message]>::to_vec)
    }

    fn exchange_pieces(&self, pieces: &[f32], received: &mut [f32]) {
        let piece = pieces.len() / self.count;
        self.meet(&self.room.pieces, pieces.to_vec(), |all| {
            let mine = all.iter().flat_map(|pieces| &pieces[self.rank * piece..][..piece]);
            for (number, &sent) in received.iter_mut().zip(mine) {
                *number = sent;
            }
        });
    }

    fn gather_pieces(&self, piece: &[f32], received: &mut [f32]) {
        self.meet(&self.room.pieces, piece.to_vec(), |all| {
            received.copy_from_slice(&all.concat());
        });
    }
}
