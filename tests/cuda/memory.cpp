// The device's memory: a pool on the host, the memory of graphs beside it, and the host's pages that are locked.
#include <cstdlib>
#include <cstring>
#include <map>

#include "driver.hpp"

namespace {

constexpr size_t MEMORY_BYTES = size_t{4} << 30;
constexpr size_t ALIGNMENT = 512;
// NaN in every type of floating-point numbers.
constexpr int NAN_BYTE = 0xff;

struct Block {
    size_t bytes;
    bool is_graphs;
};

std::map<Address, Block> blocks;
std::map<Address, size_t> locked;
// Of the pool: in use, the most that were, and what it keeps.
size_t used, most_used, reserved;
size_t graphs_reserved;

size_t total() {
    static const char* told = std::getenv("CUDA_HOST_MEMORY");
    static const size_t bytes = told ? std::strtoull(told, nullptr, 10) : MEMORY_BYTES;
    return bytes;
}

size_t left() { return total() - reserved - graphs_reserved; }

Address add(size_t bytes, bool is_graphs) {
    const size_t room = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    void* address = std::aligned_alloc(ALIGNMENT, room);
    if (!address) misuse("the host has no %zu bytes", room);
    std::memset(address, NAN_BYTE, room);
    blocks[reinterpret_cast<Address>(address)] = {bytes, is_graphs};
    return reinterpret_cast<Address>(address);
}

// The entry that begins at or before an address.
template <class Map>
auto before(Map& map, Address address) {
    auto found = map.upper_bound(address);
    return found == map.begin() ? map.end() : std::prev(found);
}

enum Attribute { RESERVED = 5, RESERVED_MOST, USED, USED_MOST };

}  // namespace

Result memory::take(Address* address, size_t bytes) {
    const size_t unused = reserved - used;
    if (bytes > unused && bytes - unused > left()) return OUT_OF_MEMORY;
    used += bytes;
    reserved = std::max(reserved, used);
    most_used = std::max(most_used, used);
    *address = add(bytes, false);
    return SUCCESS;
}

void memory::give_back(Address address) {
    const auto found = blocks.find(address);
    if (found == blocks.end() || found->second.is_graphs) misuse("%llx is given back, and is no memory of the pool's", address);
    used -= found->second.bytes;
    spoil(address);
    std::free(reinterpret_cast<void*>(address));
    blocks.erase(found);
}

Address memory::take_for_graph(size_t bytes) { return add(bytes, true); }

bool memory::is_graphs(Address address) {
    const auto found = blocks.find(address);
    return found != blocks.end() && found->second.is_graphs;
}

void memory::spoil(Address address) {
    std::memset(reinterpret_cast<void*>(address), NAN_BYTE, blocks.at(address).bytes);
}

Result memory::reserve_for_graphs(size_t bytes) {
    const size_t more = bytes > graphs_reserved ? bytes - graphs_reserved : 0;
    if (more > left()) return OUT_OF_MEMORY;
    graphs_reserved += more;
    return SUCCESS;
}

void memory::check(const char* what, const void* address, size_t bytes) {
    const Address at = reinterpret_cast<Address>(address);
    const auto found = before(blocks, at);
    if (bytes == 0) return;
    if (found == blocks.end() || at + bytes > found->first + found->second.bytes) {
        misuse("%s: %zu bytes at %llx are none of the device's", what, bytes, at);
    }
}

bool memory::is_pinned(const void* address, size_t bytes) {
    const Address at = reinterpret_cast<Address>(address);
    const auto found = before(locked, at);
    return found != locked.end() && at + bytes <= found->first + found->second;
}

API Result cuMemGetInfo_v2(size_t* free_bytes, size_t* all) {
    std::lock_guard guard(lock());
    *free_bytes = left();
    *all = total();
    return broken();
}

API Result cuDeviceGetDefaultMemPool(void** pool, int) {
    *pool = &blocks;
    return SUCCESS;
}

API Result cuMemPoolGetAttribute(void*, int attribute, uint64_t* value) {
    std::lock_guard guard(lock());
    switch (attribute) {
        case RESERVED:
        case RESERVED_MOST: *value = reserved; break;
        case USED: *value = used; break;
        case USED_MOST: *value = most_used; break;
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}

API Result cuMemPoolSetAttribute(void*, int attribute, uint64_t*) {
    std::lock_guard guard(lock());
    if (attribute == USED_MOST) most_used = used;
    return SUCCESS;
}

API Result cuMemPoolTrimTo(void*, size_t keep) {
    std::lock_guard guard(lock());
    reserved = std::min(reserved, std::max(keep, used));
    return SUCCESS;
}

API Result cuDeviceGetGraphMemAttribute(int, int, uint64_t* value) {
    std::lock_guard guard(lock());
    *value = graphs_reserved;
    return SUCCESS;
}

API Result cuDeviceGraphMemTrim(int) { return SUCCESS; }

API Result cuMemHostRegister_v2(void* address, size_t bytes, unsigned) {
    std::lock_guard guard(lock());
    locked[reinterpret_cast<Address>(address)] = bytes;
    return broken();
}

API Result cuMemHostUnregister(void* address) {
    std::lock_guard guard(lock());
    catch_up_all();
    if (!locked.erase(reinterpret_cast<Address>(address))) misuse("%p is unlocked, and was not locked", address);
    return broken();
}
