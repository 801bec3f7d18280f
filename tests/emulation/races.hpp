// Races on shared memory, found from the order that barriers give and not from what happened to come first.
//
// Two accesses of a word, one of them a write, by two threads race unless a barrier of the block lies between them, or
// `sync_warp` if the threads are of one warp. An mma, a shuffle or a vote orders nothing. A cp.async writes at any time from
// its issue until its thread has waited for it. Only accesses by `shared_load`, `shared_store`, ldmatrix and cp.async are seen.
#pragma once
#include <stdint.h>

#include <string>
#include <vector>

namespace emulator {

class Races {
  public:
    void begin(size_t bytes, int warps) {
        words_.assign(bytes / 4, Word());
        warp_epochs_.assign(warps, 0);
        epoch_ = 0;
    }
    void block_met() { epoch_++; }
    void warp_met(int warp) { warp_epochs_[warp]++; }

    // Each gives a description of the race, or an empty string. `whole_warp`: the number is for all lanes of the warp.
    std::string read(int thread, uint32_t offset, uint32_t bytes, int line, bool whole_warp) {
        const int warp = thread / 32;
        for (uint32_t at = offset / 4; at < (offset + bytes + 3) / 4; at++) {
            Word& word = words_[at];
            if (word.copying) return text("read", thread, line, "being copied", word.writer, word.line);
            if (word.writer >= 0 && !ordered(word, thread, whole_warp))
                return text("read", thread, line, "written", word.writer, word.line);
            if (word.reader_warp == NOBODY || word.read_epoch != epoch_) {
                word.reader_warp = warp, word.reader = whole_warp ? SEVERAL : thread;
            } else if (word.reader_warp != warp) {
                word.reader_warp = SEVERAL;
            } else if (word.read_warp_epoch != warp_epochs_[warp]) {
                word.reader = whole_warp ? SEVERAL : thread;
            } else if (whole_warp || word.reader != thread) {
                word.reader = SEVERAL;
            }
            word.read_epoch = epoch_, word.read_warp_epoch = warp_epochs_[warp], word.read_line = line;
        }
        return "";
    }

    std::string write(int thread, uint32_t offset, uint32_t bytes, int line, bool copying) {
        for (uint32_t at = offset / 4; at < (offset + bytes + 3) / 4; at++) {
            Word& word = words_[at];
            if (word.copying) return text("written", thread, line, "being copied", word.writer, word.line);
            // Parts of a word may be of two threads.
            if (word.writer >= 0 && bytes >= 4 && !ordered(word, thread, false))
                return text("written", thread, line, "written", word.writer, word.line);
            if (is_read(word, thread)) return text("written", thread, line, "read", word.reader, word.read_line);
            set_writer(word, thread, line);
            word.copying = copying;
        }
        return "";
    }

    // A copy of this thread is there.
    void land(int thread, uint32_t offset, uint32_t bytes) {
        for (uint32_t at = offset / 4; at < (offset + bytes) / 4; at++) {
            set_writer(words_[at], thread, words_[at].line);
            words_[at].copying = false;
        }
    }

  private:
    static constexpr int NOBODY = -1, SEVERAL = -2;
    struct Word {
        int writer = NOBODY, reader_warp = NOBODY, reader = NOBODY;
        uint32_t epoch = 0, warp_epoch = 0, read_epoch = 0, read_warp_epoch = 0;
        int line = 0, read_line = 0;
        bool copying = false;
    };
    std::vector<Word> words_;
    std::vector<uint32_t> warp_epochs_;
    uint32_t epoch_ = 0;

    // Whether a word's last write comes before what this thread (or its warp) does now.
    bool ordered(const Word& word, int thread, bool whole_warp) const {
        if (word.epoch != epoch_ || (word.writer == thread && !whole_warp)) return true;
        return word.writer / 32 == thread / 32 && word.warp_epoch != warp_epochs_[thread / 32];
    }

    // Whether another thread reads the word without order.
    bool is_read(const Word& word, int thread) const {
        if (word.reader_warp == NOBODY || word.read_epoch != epoch_) return false;
        if (word.reader_warp != thread / 32) return true;
        return word.reader != thread && word.read_warp_epoch == warp_epochs_[thread / 32];
    }

    void set_writer(Word& word, int thread, int line) {
        word.writer = thread, word.line = line, word.epoch = epoch_, word.warp_epoch = warp_epochs_[thread / 32];
    }

    static std::string text(const char* now, int thread, int line, const char* before, int other, int other_line) {
        return std::string("a word is ") + now + " at line " + std::to_string(line) + " by thread " + std::to_string(thread) +
               " and " + before + " at line " + std::to_string(other_line) + " by " +
               (other < 0 ? "others" : "thread " + std::to_string(other)) + ", without a barrier between";
    }
};

}  // namespace emulator
