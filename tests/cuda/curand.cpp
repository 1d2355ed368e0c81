// What candle asks of cuRAND when it opens a device. No model draws numbers.
#include "driver.hpp"

namespace {
int generator;
}

API int curandCreateGenerator(void** created, int) {
    *created = &generator;
    return 0;
}

API int curandDestroyGenerator(void*) { return 0; }

API int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }

API int curandSetStream(void*, Stream*) { return 0; }
