#define _GNU_SOURCE
#ifdef __linux__
#include <sched.h>
#endif
#include <unistd.h>

#include "ckernels.h"

int32_t ck_available_cores(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int32_t)n : 1;
}
