// A CUDA driver whose device is the host, so that the worker for GPUs runs whole where there is none. Slow, and strict:
//
// - What a stream is told is done as late as may be: when somebody waits for it. Memory that goes too early is noticed.
// - New memory and freed memory are full of NaN.
// - What a driver would refuse or let pass unnoticed (host memory in a recorded copy, memory of before that is freed while recording,
//   a kernel beyond its memory) ends the process with a message.
//
// CUDA_HOST_MEMORY says how many bytes the device has (4 GiB), CUDA_HOST_LOST_AFTER after how many operations it breaks (never).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

using Result = int;
// An address of the device's.
using Address = unsigned long long;

constexpr Result SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700;

// Of everything in this library.
std::recursive_mutex& lock();
// What every call answers since the device broke.
Result broken();

// Ends the process: the caller has done what no caller may do.
[[noreturn]] void misuse(const char* what, ...);

// Memory (memory.cpp).
namespace memory {

// Of the pool: `bytes`, full of NaN, if there are as many.
Result take(Address* address, size_t bytes);
void give_back(Address address);
// Of a graph that is being recorded. It stays until the process ends.
Address take_for_graph(size_t bytes);
bool is_graphs(Address address);
void spoil(Address address);
// Moves the memory of graphs to at least `bytes`, if there are as many.
Result reserve_for_graphs(size_t bytes);
// Ends the process if these are no bytes of the device's.
void check(const char* what, const void* address, size_t bytes);
// Can the device read these bytes of the host's whenever it wants?
bool is_pinned(const void* address, size_t bytes);

}  // namespace memory

using Work = std::function<void()>;

// What was recorded, and the memory that was taken and given back meanwhile.
struct Graph {
    std::vector<Work> work;
    std::set<Address> taken;
    std::set<Address> given_back;
    size_t bytes = 0;
};

struct Stream;
API Result cuStreamCreate(Stream** stream, unsigned flags);

struct Stream {
    std::deque<Work> waiting;
    // Operations that it was told, and that it has done.
    long told = 0;
    long done = 0;
    // While it is recorded.
    std::shared_ptr<Graph> recording;
};

// A stream as callers name it: null is the device's own.
struct Named {
    Stream* stream;

    operator Stream*() const {
        static Stream* own = [] {
            Stream* made = nullptr;
            cuStreamCreate(&made, 0);
            return made;
        }();
        return stream ? stream : own;
    }
    Stream* operator->() const { return *this; }
};

// Tells a stream what to do, or records it.
void tell(Stream* stream, Work work);
// Does all that a stream was told; once the device is broken, nothing.
void catch_up(Stream* stream);
void catch_up_all();
// Is any stream recorded?
bool is_recording();

// One of candle's kernels with these parameters; empty if it is not known here (candle.cpp).
Work candle_kernel(const char* name, void** parameters, unsigned blocks);
