/* From blocks of fast scores to the few pairs that exact scores have to decide.

Scores are bfloat16, read as 16-bit whole numbers. A block has `rows` rows of `columns` columns,
`stride` apart.

Called by `harness/evaluation/scanning.py`.
*/
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "processors.h" /* after glibc has said that it is there */

#define WORD 8 /* flags that are looked at together; columns are a multiple of it */
#define MOST 16384 /* keys that 16 bits can count */

/* A number that ascends as the score does; bfloat16 itself descends below zero. */
static inline int16_t key_of(int16_t bits) { return (int16_t)(bits ^ ((bits >> 15) & 0x7fff)); }

/* Set each peak to the largest key of `group` columns that lie `count` apart. */
FOR_EACH_PROCESSOR static void find_peaks(const int16_t *restrict row, int count, int group,
                                          int16_t *restrict peaks) {
  for (int i = 0; i < count; i++) peaks[i] = key_of(row[i]);
  for (int g = 1; g < group; g++) {
    const int16_t *restrict next = row + (long)g * count;
    for (int i = 0; i < count; i++) {
      const int16_t key = key_of(next[i]);
      peaks[i] = key > peaks[i] ? key : peaks[i];
    }
  }
}

FOR_EACH_PROCESSOR static int count_keys(const int16_t *restrict keys, int count, int16_t level) {
  int total = 0;
  for (int start = 0; start < count; start += MOST) {
    const int end = count < start + MOST ? count : start + MOST;
    int16_t found = 0; /* as wide as the keys: more of them fit into a vector */
    for (int i = start; i < end; i++) found += keys[i] >= level;
    total += found;
  }
  return total;
}

/* Return the k-largest key, k from 1: the highest level that k of them reach, bit by bit. */
static int16_t kth_largest(const int16_t *keys, int count, int k) {
  int level = INT16_MIN;
  for (int bit = 1 << 15; bit; bit >>= 1)
    if (count_keys(keys, count, (int16_t)(level + bit)) >= k) level += bit;
  return (int16_t)level;
}

/* Write the k-largest peak of each row, as bfloat16, to `top`; 0, or -1 without memory. */
int kth_largest_peaks(const int16_t *scores, long rows, int columns, long stride, int k, int group,
                      int16_t *top) {
  const int count = columns / group;
  int16_t *peaks = malloc(sizeof(int16_t) * (size_t)count);
  if (!peaks) return -1;
  for (long row = 0; row < rows; row++) {
    find_peaks(scores + row * stride, count, group, peaks);
    top[row] = key_of(kth_largest(peaks, count, k));
  }
  free(peaks);
  return 0;
}

/* Zero is one level, of whichever sign; as a key the negative one is lower. */
static int16_t level_of(int16_t bits) { return (bits & 0x7fff) ? key_of(bits) : -1; }

FOR_EACH_PROCESSOR static int count_row(const int16_t *restrict row, int columns, int16_t level) {
  int total = 0;
  for (int start = 0; start < columns; start += MOST) {
    const int end = columns < start + MOST ? columns : start + MOST;
    int16_t found = 0;
    for (int i = start; i < end; i++) found += key_of(row[i]) >= level;
    total += found;
  }
  return total;
}

/* Write how many scores of each row are at or above its level; return how many in all. */
long count_at_least(const int16_t *scores, long rows, int columns, long stride,
                    const int16_t *levels, int64_t *counts) {
  long total = 0;
  for (long row = 0; row < rows; row++) {
    counts[row] = count_row(scores + row * stride, columns, level_of(levels[row]));
    total += counts[row];
  }
  return total;
}

FOR_EACH_PROCESSOR static void flag_row(const int16_t *restrict row, int columns, int16_t level,
                                        uint8_t *restrict flags) {
  for (int i = 0; i < columns; i++) flags[i] = key_of(row[i]) >= level;
}

static long list_row(const int16_t *row, const uint8_t *flags, int columns, int64_t *places,
                     int16_t *values) {
  long found = 0;
  for (int start = 0; start < columns; start += WORD) {
    uint64_t word; /* almost all of them are zero */
    memcpy(&word, flags + start, WORD);
    if (!word) continue;
    for (int i = start; i < start + WORD; i++) {
      places[found] = i; /* overwritten unless it counts */
      values[found] = row[i];
      found += flags[i];
    }
  }
  return found;
}

/* Write column and score of what `count_at_least` counts, row by row, with room for one more;
   0, or -1 without memory. */
int list_at_least(const int16_t *scores, long rows, int columns, long stride,
                  const int16_t *levels, int64_t *places, int16_t *values) {
  uint8_t *flags = malloc((size_t)columns);
  if (!flags) return -1;
  for (long row = 0, found = 0; row < rows; row++) {
    flag_row(scores + row * stride, columns, level_of(levels[row]), flags);
    found += list_row(scores + row * stride, flags, columns, places + found, values + found);
  }
  free(flags);
  return 0;
}
