/* A box of an image, scaled to a square and perhaps mirrored, with the whole-number sums of Pillow.

Pillow scales in two passes, one per axis. Each output pixel is a weighted sum of input pixels; the
weights are computed as doubles and rounded to multiples of 2^-22, the sums are exact in 32 bits,
and each pass ends with rounding to a byte. Whole numbers leave no freedom: whoever adds the same
weights gets the same bytes, in any order and with any instructions. What is faster here is the
arithmetic (vectors of 32-bit lanes) and that box, passes, mirror and planes are one walk.

Called by `harness/data/resampling.py`.
*/
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "processors.h" /* after glibc has said that it is there */

#define BITS 22
#define HALF (1 << (BITS - 1))
#define LANES 4 /* of a pixel: three channels and one that nobody reads */

typedef int32_t lanes __attribute__((vector_size(LANES * sizeof(int32_t))));

/* What an axis is scaled with: output i is the sum of `taps` inputs from `first[i]` on. */
typedef struct {
  int taps;
  int *first;
  int32_t *weights; /* (outputs, taps) */
} Axis;

static double bilinear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static double bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

static int32_t rounded(double weight) {
  return (int32_t)(weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5));
}

/* The inputs that an output can see: from `low` up to, not including, `high`. */
typedef struct {
  double center;
  int low, high;
} Window;

static Window window(int output, double scale, double reach, int count) {
  Window seen = {.center = (output + 0.5) * scale};
  seen.low = (int)(seen.center - reach + 0.5);
  seen.high = (int)(seen.center + reach + 0.5);
  if (seen.low < 0) seen.low = 0;
  if (seen.high > count) seen.high = count;
  return seen;
}

/* Set up an axis of `count` inputs and `outputs` outputs; 0 when there is no memory. */
static int prepare(Axis *axis, int count, int outputs, int cubic) {
  const double scale = (double)count / outputs;
  const double widened = scale < 1 ? 1 : scale; /* shrinking averages over what is between */
  const double reach = (cubic ? 2.0 : 1.0) * widened, unit = 1.0 / widened;
  axis->taps = 1;
  for (int i = 0; i < outputs; i++) {
    const Window seen = window(i, scale, reach, count);
    if (seen.high - seen.low > axis->taps) axis->taps = seen.high - seen.low;
  }
  axis->first = malloc(sizeof(int) * (size_t)outputs);
  axis->weights = calloc((size_t)outputs * (size_t)axis->taps, sizeof(int32_t));
  double *exact = malloc(sizeof(double) * (size_t)axis->taps);
  const int complete = axis->first && axis->weights && exact;
  for (int i = 0; complete && i < outputs; i++) {
    const Window seen = window(i, scale, reach, count);
    double sum = 0;
    for (int j = seen.low; j < seen.high; j++) {
      exact[j - seen.low] = (cubic ? bicubic : bilinear)((j - seen.center + 0.5) * unit);
      sum += exact[j - seen.low];
    }
    /* At the far border taps move back to stay inside, those that are not seen weighing nothing. */
    const int first = seen.low < count - axis->taps ? seen.low : count - axis->taps;
    int32_t *weights = axis->weights + (size_t)i * axis->taps + (seen.low - first);
    axis->first[i] = first;
    for (int j = 0; j < seen.high - seen.low; j++)
      weights[j] = rounded(sum != 0 ? exact[j] / sum : exact[j]);
  }
  free(exact);
  return complete;
}

static void mirror(Axis *axis, int outputs) {
  for (int i = 0, k = outputs - 1; i < k; i++, k--) {
    const int first = axis->first[i];
    axis->first[i] = axis->first[k];
    axis->first[k] = first;
    for (int j = 0; j < axis->taps; j++) {
      int32_t *left = axis->weights + (size_t)i * axis->taps + j;
      int32_t *right = axis->weights + (size_t)k * axis->taps + j;
      const int32_t weight = *left;
      *left = *right;
      *right = weight;
    }
  }
}

static inline uint8_t byte_of(int32_t sum) {
  sum >>= BITS;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* `taps` is a constant wherever this is inlined, or else the loop is not unrolled. */
static inline __attribute__((always_inline)) void sum_pixels(
    const int32_t *restrict line, const Axis *axis, int taps, int outputs, int32_t *restrict sums) {
  for (int i = 0; i < outputs; i++) {
    const int32_t *pixel = line + 3 * axis->first[i];
    const int32_t *weights = axis->weights + (size_t)i * taps;
    lanes sum = {HALF, HALF, HALF, HALF}, values;
    for (int j = 0; j < taps; j++) {
      memcpy(&values, pixel + 3 * j, sizeof values); /* the last lane is the next pixel's */
      sum += values * weights[j];
    }
    memcpy(sums + 3 * i, &sum, sizeof sum); /* the last lane is overwritten by the next pixel */
  }
}

/* Scale one line of `count` pixels; `line` and `sums` have room for one value more. */
FOR_EACH_PROCESSOR static void scale_line(const uint8_t *restrict source, int count, int channels,
                                          const Axis *axis, int outputs, int32_t *restrict line,
                                          int32_t *restrict sums, uint8_t *restrict result) {
  for (int i = 0; i < count * channels; i++) line[i] = source[i];
  if (channels == 1) {
    for (int i = 0; i < outputs; i++) {
      sums[i] = HALF;
      for (int j = 0; j < axis->taps; j++)
        sums[i] += line[axis->first[i] + j] * axis->weights[(size_t)i * axis->taps + j];
    }
  } else {
    switch (axis->taps) {
      case 2: sum_pixels(line, axis, 2, outputs, sums); break;
      case 3: sum_pixels(line, axis, 3, outputs, sums); break;
      case 4: sum_pixels(line, axis, 4, outputs, sums); break;
      default: sum_pixels(line, axis, axis->taps, outputs, sums);
    }
  }
  for (int i = 0; i < outputs * channels; i++) result[i] = byte_of(sums[i]);
}

/* Weigh `taps` lines of `count` bytes, `stride` apart, into one. */
FOR_EACH_PROCESSOR static void mix_lines(const uint8_t *restrict source, long stride, int taps,
                                         const int32_t *restrict weights, int count,
                                         int32_t *restrict sums, uint8_t *restrict result) {
  const uint8_t *restrict second = source + (taps > 1 ? stride : 0);
  const int32_t w0 = weights[0], w1 = taps > 1 ? weights[1] : 0;
  if (taps <= 2) { /* enlarging: no sums to keep */
    for (int i = 0; i < count; i++) result[i] = byte_of(HALF + w0 * source[i] + w1 * second[i]);
    return;
  }
  for (int i = 0; i < count; i++) sums[i] = HALF + w0 * source[i] + w1 * second[i];
  for (int j = 2; j < taps; j++) {
    const uint8_t *restrict next = source + j * stride;
    const int32_t weight = weights[j];
    for (int i = 0; i < count; i++) sums[i] += weight * next[i];
  }
  for (int i = 0; i < count; i++) result[i] = byte_of(sums[i]);
}

FOR_EACH_PROCESSOR static void split(const uint8_t *restrict pixels, int count,
                                     uint8_t *restrict first, uint8_t *restrict second,
                                     uint8_t *restrict third) {
  for (int i = 0; i < count; i++) {
    first[i] = pixels[3 * i];
    second[i] = pixels[3 * i + 1];
    third[i] = pixels[3 * i + 2];
  }
}

/* Memory of one call, and the box it is about. */
typedef struct {
  Axis across, down;
  int32_t *line, *sums;
  uint8_t *between, *last; /* after the first pass; one line after the second */
  int width, height, channels, side;
} Work;

static void wide_first(Work *work, const uint8_t *box, long stride, uint8_t *planes) {
  const int side = work->side, channels = work->channels;
  const long row = (long)side * channels, plane = (long)side * side;
  for (int y = 0; y < work->height; y++)
    scale_line(box + y * stride, work->width, channels, &work->across, side, work->line, work->sums,
               work->between + y * row);
  for (int y = 0; y < side; y++) {
    const int taps = work->down.taps;
    uint8_t *line = channels == 1 ? planes + (long)y * side : work->last;
    mix_lines(work->between + work->down.first[y] * row, row, taps,
              work->down.weights + (size_t)y * taps, (int)row, work->sums, line);
    if (channels == 3)
      split(line, side, planes + (long)y * side, planes + plane + (long)y * side,
            planes + 2 * plane + (long)y * side);
  }
}

static void tall_first(Work *work, const uint8_t *box, long stride, uint8_t *planes) {
  const int side = work->side, channels = work->channels, taps = work->down.taps;
  const long plane = (long)side * side;
  for (int y = 0; y < side; y++) {
    uint8_t *line = channels == 1 ? planes + (long)y * side : work->last;
    mix_lines(box + work->down.first[y] * stride, stride, taps,
              work->down.weights + (size_t)y * taps, work->width * channels, work->sums,
              work->between);
    scale_line(work->between, work->width, channels, &work->across, side, work->line, work->sums,
               line);
    if (channels == 3)
      split(line, side, planes + (long)y * side, planes + plane + (long)y * side,
            planes + 2 * plane + (long)y * side);
  }
}

/* Scale a box of pixels (rows `stride` bytes apart) to planes (channels, side, side).

   All sizes are positive, the box lies inside, channels is 1 or 3. Returns 0, or -1 when there is
   no memory. */
int crop_resized(const uint8_t *box, long stride, int channels, int width, int height, int side,
                 int cubic, int mirrored, int height_first, uint8_t *planes) {
  Work work = {.width = width, .height = height, .channels = channels, .side = side};
  const size_t longest = (size_t)(width > side ? width : side) * (size_t)channels + LANES;
  const size_t lines = height_first ? 1 : (size_t)height;
  int done = -1;
  work.line = malloc(longest * sizeof(int32_t));
  work.sums = malloc(longest * sizeof(int32_t));
  work.between = malloc(longest * lines);
  work.last = malloc(longest);
  const int ready = prepare(&work.across, width, side, cubic) &
                    prepare(&work.down, height, side, cubic);
  if (ready && work.line && work.sums && work.between && work.last) {
    if (mirrored) mirror(&work.across, side);
    memset(work.line, 0, longest * sizeof(int32_t));
    (height_first ? tall_first : wide_first)(&work, box, stride, planes);
    done = 0;
  }
  free(work.line), free(work.sums), free(work.between), free(work.last);
  free(work.across.first), free(work.across.weights);
  free(work.down.first), free(work.down.weights);
  return done;
}
