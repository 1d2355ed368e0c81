// The rest of the driver's calls: the device, its context, memory in streams, copies, and launches.
#include "driver.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../../kernels/cuda/host/launch.cpp"

namespace {

// Versions and attributes as the driver numbers them; those of a Hopper where somebody asks.
constexpr int DRIVER_VERSION = 13000;
enum Attribute { THREADS_MAX = 1, SHARED_BYTES = 8, WARP = 10, PROCESSORS = 16, MAJOR = 75, MINOR = 76, SHARED_BYTES_MOST = 97 };

thread_local void* current_context;
int context, module;

}  // namespace

void misuse(const char* what, ...) {
    va_list arguments;
    va_start(arguments, what);
    std::fputs("the driver was misused: ", stderr);
    std::vfprintf(stderr, what, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
    std::abort();
}

API Result cuInit(unsigned) { return SUCCESS; }

API Result cuDriverGetVersion(int* version) {
    *version = DRIVER_VERSION;
    return SUCCESS;
}

API Result cuDeviceGetCount(int* count) {
    *count = 1;
    return SUCCESS;
}

API Result cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_VALUE;
}

API Result cuDeviceGetName(char* name, int length, int) {
    std::snprintf(name, static_cast<size_t>(length), "the host");
    return SUCCESS;
}

API Result cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case THREADS_MAX: *value = 1024; break;
        case SHARED_BYTES: *value = 48 << 10; break;
        case WARP: *value = 32; break;
        case PROCESSORS: *value = 2; break;
        case MAJOR: *value = 9; break;
        case MINOR: *value = 0; break;
        case SHARED_BYTES_MOST: *value = 227 << 10; break;
        default: *value = 1;
    }
    return SUCCESS;
}

API Result cuDevicePrimaryCtxRetain(void** retained, int) {
    *retained = &context;
    return SUCCESS;
}

API Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

API Result cuCtxDestroy_v2(void*) { return SUCCESS; }

API Result cuCtxGetCurrent(void** current) {
    *current = current_context;
    return SUCCESS;
}

API Result cuCtxSetCurrent(void* current) {
    current_context = current;
    return SUCCESS;
}

API Result cuGetErrorString(Result error, const char** text) {
    *text = error == OUT_OF_MEMORY ? "out of memory"
            : error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
                                       : "some error";
    return SUCCESS;
}

API Result cuMemAllocAsync(Address* address, size_t bytes, Named stream) {
    std::lock_guard guard(lock());
    if (broken()) return broken();
    if (!stream->recording) return bytes > 0 ? memory::take(address, bytes) : INVALID_VALUE;
    *address = memory::take_for_graph(bytes);
    stream->recording->taken.insert(*address);
    stream->recording->bytes += bytes;
    return SUCCESS;
}

API Result cuMemAlloc_v2(Address* address, size_t bytes) {
    std::lock_guard guard(lock());
    if (is_recording()) misuse("memory of no stream is taken while one is recorded");
    return broken() ? broken() : memory::take(address, bytes);
}

API Result cuMemFreeAsync(Address address, Named stream) {
    std::lock_guard guard(lock());
    if (memory::is_graphs(address) != static_cast<bool>(stream->recording)) {
        misuse(stream->recording ? "memory of before is given back while a stream is recorded" : "a graph's memory is given back");
    }
    if (stream->recording) {
        stream->recording->given_back.insert(address);
    } else {
        tell(stream, [address] { memory::give_back(address); });
    }
    return broken();
}

API Result cuMemFree_v2(Address address) {
    std::lock_guard guard(lock());
    catch_up_all();
    if (!broken()) memory::give_back(address);
    return broken();
}

// Bytes of the host's are copied later only if they are locked; others the driver sets aside at once.
API Result cuMemcpyHtoDAsync_v2(void* to, const char* from, size_t bytes, Named stream) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("a copy of the host's memory is recorded");
    const auto aside = std::make_shared<std::vector<char>>();
    if (!memory::is_pinned(from, bytes)) aside->assign(from, from + bytes);
    tell(stream, [=] {
        memory::check("a copy from the host", to, bytes);
        std::memcpy(to, aside->empty() ? from : aside->data(), bytes);
    });
    return broken();
}

API Result cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, Named stream) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("a copy to the host's memory is recorded");
    tell(stream, [=] {
        memory::check("a copy to the host", from, bytes);
        std::memcpy(to, from, bytes);
    });
    if (!memory::is_pinned(to, bytes)) catch_up(stream);
    return broken();
}

API Result cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, Named stream) {
    std::lock_guard guard(lock());
    tell(stream, [=] {
        memory::check("a copy's target", to, bytes);
        memory::check("a copy's source", from, bytes);
        std::memmove(to, from, bytes);
    });
    return broken();
}

API Result cuMemcpyPeerAsync(void* to, void*, const void* from, void*, size_t bytes, Named stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}

API Result cuMemsetD8Async(void* to, unsigned char value, size_t bytes, Named stream) {
    std::lock_guard guard(lock());
    tell(stream, [=] {
        memory::check("a filling", to, bytes);
        std::memset(to, value, bytes);
    });
    return broken();
}

// Every module has every kernel.
API Result cuModuleLoadData(void** loaded, const void*) {
    std::lock_guard guard(lock());
    if (is_recording()) misuse("kernels are loaded while a stream is recorded");
    *loaded = &module;
    return broken();
}

API Result cuModuleLoad(void** loaded, const char*) { return cuModuleLoadData(loaded, nullptr); }

API Result cuModuleUnload(void*) { return SUCCESS; }

API Result cuModuleGetFunction(std::string** function, void*, const char* name) {
    *function = new std::string(name);
    return SUCCESS;
}

API Result cuLaunchKernel(const std::string* kernel, unsigned across, unsigned down, unsigned deep, unsigned threads, unsigned, unsigned,
                          unsigned shared, Named stream, void** parameters, void**) {
    std::lock_guard guard(lock());
    const auto own = host::entries().find(*kernel);
    if (own == host::entries().end()) {
        Work work = candle_kernel(kernel->c_str(), parameters, across);
        if (!work) misuse("kernel %s is not known here", kernel->c_str());
        tell(stream, std::move(work));
        return broken();
    }
    std::vector<uint64_t> bits(own->second.second);
    for (size_t at = 0; at < bits.size(); ++at) std::memcpy(&bits[at], parameters[at], sizeof bits[at]);
    tell(stream, [=] {
        std::vector<void*> pointers;
        for (const uint64_t& parameter : bits) pointers.push_back(const_cast<uint64_t*>(&parameter));
        const unsigned grid[] = {across, down, deep}, block[] = {threads, 1, 1};
        const char* fault = sconce_host_launch(kernel->c_str(), grid, block, shared, pointers.data(), pointers.size(), false);
        if (fault) misuse("kernel %s: %s", kernel->c_str(), fault);
    });
    return broken();
}

// Of cublas.cpp, which is a library of its own.
API void cuda_host_tell(Stream* stream, Work* work) {
    std::lock_guard guard(lock());
    tell(stream, std::move(*work));
}
