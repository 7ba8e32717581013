/* Short vectors and dim3, as CUDA lays them out. */
#ifndef CUEMU_VECTOR_TYPES_H
#define CUEMU_VECTOR_TYPES_H

#ifdef __cplusplus
#define CUEMU_ALIGN(bytes) alignas(bytes)
#define CUEMU_VECTORS(name, type, bytes)                        \
    struct CUEMU_ALIGN(2 * bytes) name##2 { type x, y; };       \
    struct name##3 { type x, y, z; };                           \
    struct CUEMU_ALIGN(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { type x, y, z, w; }; \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; } \
    static inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUEMU_VECTORS(char, signed char, 1)
CUEMU_VECTORS(uchar, unsigned char, 1)
CUEMU_VECTORS(short, short, 2)
CUEMU_VECTORS(ushort, unsigned short, 2)
CUEMU_VECTORS(int, int, 4)
CUEMU_VECTORS(uint, unsigned, 4)
CUEMU_VECTORS(longlong, long long, 8)
CUEMU_VECTORS(ulonglong, unsigned long long, 8)
CUEMU_VECTORS(float, float, 4)
CUEMU_VECTORS(double, double, 8)
#undef CUEMU_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
#endif

#endif
