// The scheduler of fibers: one block after the other, its threads in turn, each until it waits for others.
#include "fibers.hpp"

#include <setjmp.h>
#include <ucontext.h>

#include <cstring>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host {
namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr unsigned THREADS_MAX = 1024;
constexpr int POISON = 0xff;

struct Copy {
    void* to;
    const void* from;
};

struct Fiber {
    // How it is entered, and where it waits. A jump changes stacks without a system call, of which a context needs two.
    ucontext_t entry;
    jmp_buf place;
    bool is_entered;
    std::unique_ptr<unsigned char[]> stack;
    Dim index;
    unsigned number;
    bool is_done;
    std::vector<Copy> copies;
};

struct Warp {
    unsigned lanes;
    unsigned arrived;
    unsigned generation;
    const char* what;
    // Two, since lanes that went on may put something while others still read.
    alignas(16) unsigned char slots[2][WARP][SLOT_BYTES];
};

// A block that is running, and what is kept from one to the next.
struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::unique_ptr<unsigned char[]> shared;
    const Launch* launch;
    Dim index;
    unsigned threads;
    unsigned arrived;
    unsigned generation;
    bool has_moved;
    const char* error;
    Fiber* current;
    jmp_buf scheduler;
    void* scheduler_fake_stack;
    const void* scheduler_stack;
    size_t scheduler_stack_bytes;
};

thread_local Block block;

// Tells the sanitizer, which has to know of every change of the stack.
void leaves(void** fake, const void* stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake, stack, bytes);
#else
    (void)fake, (void)stack, (void)bytes;
#endif
}

void arrives(void* fake, const void** stack, size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, stack, bytes);
#else
    (void)fake, (void)stack, (void)bytes;
#endif
}

// Back to the scheduler, until it is this fiber's turn again.
void yield() {
    Fiber& fiber = *block.current;
    void* fake = nullptr;
    leaves(fiber.is_done ? nullptr : &fake, block.scheduler_stack, block.scheduler_stack_bytes);
    if (_setjmp(fiber.place) == 0) _longjmp(block.scheduler, 1);
    arrives(fake, &block.scheduler_stack, &block.scheduler_stack_bytes);
}

void enter() {
    arrives(nullptr, &block.scheduler_stack, &block.scheduler_stack_bytes);
    block.launch->body(block.launch->argument);
    if (!block.current->copies.empty()) fail("a thread ended without waiting for its copies");
    block.current->is_done = true;
    block.has_moved = true;
    yield();
}

void resume(Fiber& fiber) {
    block.current = &fiber;
    leaves(&block.scheduler_fake_stack, fiber.stack.get(), STACK_BYTES);
    if (_setjmp(block.scheduler) == 0) {
        if (fiber.is_entered) _longjmp(fiber.place, 1);
        fiber.is_entered = true;
        setcontext(&fiber.entry);
    }
    arrives(block.scheduler_fake_stack, nullptr, nullptr);
}

void begin_thread(unsigned number) {
    Fiber& fiber = block.fibers[number];
    if (!fiber.stack) fiber.stack.reset(new unsigned char[STACK_BYTES]);
    const Dim dim = block.launch->block;
    fiber.index = {number % dim.x, number / dim.x % dim.y, number / dim.x / dim.y};
    fiber.number = number;
    fiber.is_done = false;
    fiber.copies.clear();
    fiber.is_entered = false;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = STACK_BYTES;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, enter, 0);
}

void begin_block(Dim index) {
    block.index = index;
    block.arrived = block.generation = 0;
    // Nothing is left from the block before, as on a device.
    block.shared.reset(new unsigned char[block.launch->shared]);
    std::memset(block.shared.get(), POISON, block.launch->shared);
    for (unsigned number = 0; number < block.threads; ++number) begin_thread(number);
    for (unsigned warp = 0; warp < block.warps.size(); ++warp) {
        const unsigned left = block.threads - warp * WARP;
        block.warps[warp] = {};
        block.warps[warp].lanes = left < WARP ? left : WARP;
    }
}

// Gives each thread that is not done a turn. False once all are.
bool turn() {
    bool is_running = false;
    for (unsigned at = 0; at < block.threads && !block.error; ++at) {
        Fiber& fiber = block.fibers[block.launch->descending ? block.threads - 1 - at : at];
        if (fiber.is_done) continue;
        is_running = true;
        resume(fiber);
    }
    return is_running;
}

void run_block(Dim index) {
    begin_block(index);
    for (;;) {
        block.has_moved = false;
        if (!turn() || block.error) return;
        if (!block.has_moved) {
            block.error = "threads wait for others that do not come";
            return;
        }
    }
}

}  // namespace

const char* run(const Launch& launch) {
    block.launch = &launch;
    block.error = nullptr;
    block.threads = launch.block.x * launch.block.y * launch.block.z;
    if (block.threads == 0 || block.threads > THREADS_MAX) return "a block has 1 to 1024 threads";
    if (block.fibers.size() < block.threads) block.fibers.resize(block.threads);
    block.warps.resize((block.threads + WARP - 1) / WARP);
    const Dim grid = launch.grid;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x && !block.error; ++x) run_block({x, y, z});
    return block.error;
}

Dim thread_index() { return block.current->index; }
Dim block_index() { return block.index; }
Dim block_dim() { return block.launch->block; }
Dim grid_dim() { return block.launch->grid; }
unsigned lane() { return block.current->number % WARP; }

void barrier() {
    const unsigned generation = block.generation;
    block.has_moved = true;
    if (++block.arrived == block.threads) {
        block.arrived = 0;
        ++block.generation;
    }
    while (block.generation == generation) yield();
}

const unsigned char* exchange(const char* what, const void* mine, size_t size) {
    Warp& warp = block.warps[block.current->number / WARP];
    if (size > SLOT_BYTES) fail("more than a slot is exchanged");
    if (warp.lanes < WARP) fail("a warp of fewer than 32 lanes exchanges");
    if (warp.arrived == 0) warp.what = what;
    if (std::strcmp(warp.what, what) != 0) fail("the lanes of a warp meet in different collectives");
    const unsigned generation = warp.generation;
    unsigned char(*slots)[SLOT_BYTES] = warp.slots[generation % 2];
    std::memcpy(slots[lane()], mine, size);
    block.has_moved = true;
    if (++warp.arrived == warp.lanes) {
        warp.arrived = 0;
        ++warp.generation;
    }
    while (warp.generation == generation) yield();
    return slots[0];
}

void* shared(size_t size) {
    if (size > block.launch->shared) fail("a kernel wants more shared memory than it was launched with");
    return block.shared.get();
}

void copy_later(void* to, const void* from) { block.current->copies.push_back({to, from}); }

void wait_for_copies() {
    for (const Copy& copy : block.current->copies) std::memcpy(copy.to, copy.from, 16);
    block.current->copies.clear();
}

void fail(const char* message) {
    block.error = message;
    // The scheduler resumes no thread any more.
    for (;;) yield();
}

}  // namespace host
