/* Chooses the variant once and forwards the public functions to it. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "variant.h"

static const ck_variant_t *const variants[] = {
#if defined(__x86_64__)
    &ck_variant_avx512,
    &ck_variant_avx2,
#elif defined(__aarch64__)
    &ck_variant_neon,
#endif
    &ck_variant_portable,
    &ck_variant_reference,
};
enum { variant_count = sizeof variants / sizeof variants[0] };

static _Atomic(const ck_variant_t *) active;

static const ck_variant_t *find(const char *name) {
  for (int i = 0; i < variant_count; i++)
    if (strcmp(variants[i]->name, name) == 0 && variants[i]->runs_here()) return variants[i];
  return NULL;
}

static const ck_variant_t *current(void) {
  const ck_variant_t *v = atomic_load_explicit(&active, memory_order_acquire);
  if (v) return v;
  const char *name = getenv("AIPO_KERNELS");
  v = name ? find(name) : NULL;
  for (int i = 0; !v; i++)
    if (variants[i]->runs_here()) v = variants[i];
  atomic_store_explicit(&active, v, memory_order_release);
  return v;
}

const char *ck_variant(void) { return current()->name; }

ck_status ck_set_variant(const char *name) {
  const ck_variant_t *v = find(name);
  if (!v) return CK_BAD_VARIANT;
  atomic_store_explicit(&active, v, memory_order_release);
  return CK_OK;
}

const char *ck_available_variant(int32_t index) {
  for (int i = 0; i < variant_count; i++)
    if (variants[i]->runs_here() && index-- == 0) return variants[i]->name;
  return NULL;
}

#define TYPED(...) (ck_type type, __VA_ARGS__)
#define FORWARD(R, name, parameters, arguments)                                                   \
  R ck_##name TYPED parameters {                                                                  \
    return type == CK_FLOAT32 ? current()->f32->name arguments : current()->f64->name arguments; \
  }
#pragma clang diagnostic ignored "-Wpedantic"
CK_KERNELS(FORWARD, void)
