/* From blocks of fast scores to the few pairs that exact scores have to decide.

Scores are bfloat16, read as 16-bit whole numbers. A block has `rows` rows of `columns` columns,
`stride` apart.

Called by `harness/evaluation/scanning.py`.
*/
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "processors.h" /* after glibc has said that it is there */

#define WORD 8 /* flags that are looked at together; columns are a multiple of it */
#define MOST 16384 /* keys that 16 bits can count */
#define WIDTH 16
#define CACHE (1 << 20) /* bytes of the gallery that are read again and again */

typedef float lanes __attribute__((vector_size(WIDTH * sizeof(float))));

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

FOR_EACH_PROCESSOR static float product(const float *restrict left, const float *restrict right,
                                        int size) {
  lanes sums[2] = {{0}}, a, b;
  int i = 0;
  for (; i + 2 * WIDTH <= size; i += 2 * WIDTH)
    for (int half = 0; half < 2; half++) {
      memcpy(&a, left + i + half * WIDTH, sizeof a);
      memcpy(&b, right + i + half * WIDTH, sizeof b);
      sums[half] += a * b;
    }
  sums[0] += sums[1];
  float total = 0;
  for (int lane = 0; lane < WIDTH; lane++) total += sums[0][lane];
  for (; i < size; i++) total += left[i] * right[i];
  return total;
}

/* An integer that ascends as the score descends, and then as the row ascends. */
static int64_t packed(float score, int64_t row) {
  int32_t bits;
  memcpy(&bits, &score, sizeof bits);
  bits ^= (bits >> 31) & INT32_MAX; /* ascends as the score does */
  return (int64_t)((uint64_t)(uint32_t)~bits << 32) | row;
}

/* Score the `counts[query]` gallery rows that each query lists, and pack scores and rows. Each line
   of `keys` has room for `longest` and ends in keys of a score of minus infinity. The gallery is
   read by pieces that stay in a core's cache while all queries take what they list of it, which
   is in order if lists ascend, and complete in any case. 0, or -1 without memory. */
int pack_listed(const float *queries, const float *gallery, int size, long num_queries, long num_rows,
                const int64_t *counts, const int64_t *rows, long longest, int64_t *keys) {
  const long piece = CACHE / ((long)size * (long)sizeof(float)) + 1;
  long *done = calloc((size_t)num_queries, sizeof(long));
  if (!done) return -1;
  for (long end = piece; end - piece < num_rows; end += piece) {
    const int64_t *listed = rows;
    for (long query = 0; query < num_queries; listed += counts[query++]) {
      const float *left = queries + query * size;
      long i = done[query];
      for (; i < counts[query] && listed[i] < end; i++)
        keys[query * longest + i] = packed(product(left, gallery + listed[i] * size, size), listed[i]);
      done[query] = i;
    }
  }
  for (long query = 0; query < num_queries; query++)
    for (long i = counts[query]; i < longest; i++) keys[query * longest + i] = packed(-INFINITY, 0);
  free(done);
  return 0;
}

/* Lists of gallery rows, (queries, width), nearest first and padded with minus infinity. */
typedef struct {
  long queries, width;
  const int64_t *rows;
  const double *scores;
  const int64_t *labels, *gallery_labels; /* of the queries, and of all of the gallery */
} Lists;

static int is_hit(const Lists *lists, long query, long place) {
  const long i = query * lists->width + place;
  return lists->gallery_labels[lists->rows[i]] == lists->labels[query] &&
         lists->scores[i] > -INFINITY;
}

/* Flag what exact scores have to order, as `settling.settle` explains. */
void flag_doubtful(long queries, long width, const int64_t *rows, const double *scores,
                   const int64_t *labels, const int64_t *gallery_labels, const double *errors,
                   long neighbors, uint8_t *flags) {
  const Lists lists = {queries, width, rows, scores, labels, gallery_labels};
  memset(flags, 0, (size_t)(queries * width));
  for (long query = 0; query < queries; query++, flags += width, scores += width) {
    for (long start = 0, end; start < width; start = end) {
      int decides = 0, hit = is_hit(&lists, query, start);
      for (end = start + 1; end < width; end++) { /* the run from `start` to before `end` */
        if (!(scores[end - 1] - scores[end] <= 2 * errors[query])) break;
        const int next = is_hit(&lists, query, end);
        decides |= next != hit || end - 1 < neighbors;
        hit = next;
      }
      if (decides) memset(flags + start, 1, (size_t)(end - start));
    }
    for (long place = 0; place < neighbors && place < width; place++)
      flags[place] |= scores[place] > -INFINITY;
  }
}

/* Reduce lists to the place of the first hit, the hits among the first R, and precision summed
   over the hits to three depths: R, R + 1 and the cut-off. */
void sum_precision(long queries, long width, const int64_t *rows, const double *scores,
                   const int64_t *labels, const int64_t *gallery_labels, const int64_t *relevant,
                   long cutoff, int64_t *first, int64_t *hits, double *sums) {
  const Lists lists = {queries, width, rows, scores, labels, gallery_labels};
  memset(hits, 0, sizeof(int64_t) * (size_t)queries);
  memset(first, 0, sizeof(int64_t) * (size_t)queries);
  memset(sums, 0, sizeof(double) * 3 * (size_t)queries);
  for (long query = 0; query < queries; query++) {
    long found = 0;
    for (long place = 0; place < width; place++) {
      if (!is_hit(&lists, query, place)) continue;
      const double precision = (double)++found / (double)(place + 1);
      if (found == 1) first[query] = place + 1;
      if (place < relevant[query]) hits[query]++, sums[query] += precision;
      if (place <= relevant[query]) sums[queries + query] += precision;
      if (place < cutoff) sums[2 * queries + query] += precision;
    }
  }
}
