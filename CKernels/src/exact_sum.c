#include <math.h>
#include <string.h>

#include "ckernels.h"

/* Chunk i stands for acc[i]·2^(32i − 1074). A double is added to two chunks that follow each other, as 32 and up to 53 bits, so that
 * a chunk overflows after 2^10 of them at the earliest. */
enum { CHUNKS = CK_EXACT_SUM - 4, NANS = CHUNKS, POSITIVE, NEGATIVE, ADDED };

void ck_exact_carry(int64_t *acc) {
  for (int i = 0; i + 1 < CHUNKS; i++) {
    int64_t low = acc[i] & 0xffffffff;
    acc[i + 1] += (acc[i] - low) / 4294967296;
    acc[i] = low;
  }
  acc[ADDED] = 0;
}

void ck_exact_add(int64_t count, const double *x, int64_t *acc) {
  for (int64_t k = 0; k < count; k++) {
    uint64_t bits;
    memcpy(&bits, x + k, sizeof bits);
    int exponent = (int)(bits >> 52 & 2047);
    uint64_t mantissa = bits & 0xfffffffffffff;
    int negative = (int)(bits >> 63);
    if (exponent == 2047) {
      acc[mantissa ? NANS : negative ? NEGATIVE : POSITIVE]++;
      continue;
    }
    if (exponent) mantissa |= (uint64_t)1 << 52;
    else exponent = 1;
    int chunk = (exponent - 1) >> 5, shift = (exponent - 1) & 31;
    int64_t low = (int64_t)(mantissa << shift & 0xffffffff);
    int64_t high = (int64_t)(mantissa >> (32 - shift));
    acc[chunk] += negative ? -low : low;
    acc[chunk + 1] += negative ? -high : high;
    if (++acc[ADDED] == 1000) ck_exact_carry(acc);
  }
}

void ck_exact_merge(const int64_t *other, int64_t *acc) {
  ck_exact_carry(acc);
  for (int i = 0; i < ADDED; i++) acc[i] += other[i];
  ck_exact_carry(acc);
}

double ck_exact_value(int64_t *acc) {
  if (acc[NANS] || (acc[POSITIVE] && acc[NEGATIVE])) return NAN;
  if (acc[POSITIVE] || acc[NEGATIVE]) return acc[POSITIVE] ? INFINITY : -INFINITY;
  ck_exact_carry(acc);
  int64_t number[CHUNKS];
  memcpy(number, acc, sizeof number);
  double sign = 1;
  if (number[CHUNKS - 1] < 0) {
    sign = -1;
    for (int i = 0; i < CHUNKS; i++) number[i] = -number[i];
    for (int i = 0; i + 1 < CHUNKS; i++) {
      int64_t low = number[i] & 0xffffffff;
      number[i + 1] += (number[i] - low) / 4294967296;
      number[i] = low;
    }
  }
  int top = CHUNKS - 1;
  while (top > 0 && number[top] == 0) top--;
  int length = 64 - __builtin_clzll((uint64_t)number[top] | 1);
  /* The 64 bits below the top one, and whether anything follows. */
  uint64_t head = (uint64_t)number[top] << (64 - length);
  int sticky = 0, filled = length;
  for (int i = top - 1; i >= 0; i--) {
    uint64_t part = (uint64_t)number[i];
    if (filled < 64) {
      int room = 64 - filled;
      head |= room >= 32 ? part << (room - 32) : part >> (32 - room);
      if (room < 32 && part << (32 + room) != 0) sticky = 1;
      filled += 32;
    } else if (part) {
      sticky = 1;
    }
  }
  int exponent = 32 * top + length - 64 - 1074;
  if (exponent + 64 <= -1022) return sign * ldexp((double)head, exponent); /* below the normal numbers all bits fit */
  uint64_t mantissa = head >> 11, rest = head & 2047;
  if (rest > 1024 || (rest == 1024 && (sticky || (mantissa & 1)))) mantissa++;
  return sign * ldexp((double)mantissa, exponent + 11);
}
