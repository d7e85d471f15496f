#define _GNU_SOURCE
#include "allocation_counting.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static _Thread_local int counting;
static _Thread_local long calls;

void *malloc(size_t size) {
  calls += counting;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  calls += counting;
  return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  calls += counting;
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  calls += counting;
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
  void *result = memalign(alignment, size);
  if (!result) return ENOMEM;
  *memory = result;
  return 0;
}

int allocation_counting_works(void) { return 1; }

void allocation_counting_start(void) {
  calls = 0;
  counting = 1;
}

long allocation_counting_stop(void) {
  counting = 0;
  return calls;
}
#else
int allocation_counting_works(void) { return 0; }
void allocation_counting_start(void) {}
long allocation_counting_stop(void) { return 0; }
#endif
