/// libpng reports errors by longjmp, which Swift can't survive: these functions keep setjmp inside C
/// and hand back a message instead. They read from and write to memory.
#ifndef AIPO_PNG_SHIM_H
#define AIPO_PNG_SHIM_H

#include <png.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { AIPO_PNG_MESSAGE = 160 };

enum { AIPO_PNG_EXIF = 1024 };

typedef struct {
  uint32_t width, height;
  int channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; palettes and tRNS expanded */
  int depth;    /* 8 or 16 bits a value; fewer expanded */
  unsigned char exif[AIPO_PNG_EXIF]; /* the beginning of eXIf, where it comes before the pixels */
  int exif_count;
} aipo_png_header;

typedef struct {
  unsigned char *bytes; /* owned by the caller, to be freed */
  size_t count, capacity;
} aipo_png_buffer;

typedef struct {
  const unsigned char *bytes;
  size_t count, position;
} aipo_png_input;

static void aipo_png_error(png_structp png, png_const_charp message) {
  char *text = (char *)png_get_error_ptr(png);
  strncpy(text, message, AIPO_PNG_MESSAGE - 1);
  png_longjmp(png, 1);
}

static void aipo_png_warning(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static void aipo_png_take(png_structp png, png_bytep out, size_t count) {
  aipo_png_input *input = (aipo_png_input *)png_get_io_ptr(png);
  if (count > input->count - input->position) png_error(png, "the data end too early");
  memcpy(out, input->bytes + input->position, count);
  input->position += count;
}

static void aipo_png_put(png_structp png, png_bytep bytes, size_t count) {
  aipo_png_buffer *buffer = (aipo_png_buffer *)png_get_io_ptr(png);
  if (count > buffer->capacity - buffer->count) {
    size_t capacity = 2 * buffer->capacity + count;
    unsigned char *grown = (unsigned char *)realloc(buffer->bytes, capacity);
    if (!grown) png_error(png, "not enough memory");
    buffer->bytes = grown;
    buffer->capacity = capacity;
  }
  memcpy(buffer->bytes + buffer->count, bytes, count);
  buffer->count += count;
}

static void aipo_png_flush(png_structp png) { (void)png; }

/* libpng takes the length that a chunk claims before it has read it, and calls more than `png_set_chunk_malloc_max` a mistake
 * that it can live with. The largest row needs 2^27 bytes. */
static png_voidp aipo_png_malloc(png_structp png, png_alloc_size_t bytes) {
  (void)png;
  return bytes <= ((png_alloc_size_t)1 << 28) ? malloc(bytes) : NULL;
}
static void aipo_png_free(png_structp png, png_voidp memory) {
  (void)png;
  free(memory);
}

/// Reads the header and, where `pixels` isn't null, the whole image.
/// Values of 16 bits are stored in the machine's order, rows of `row_bytes` one after another;
/// `row_bytes` must be width · channels · depth / 8 as an earlier call gave them.
/// Returns 0, or 1 with a message.
static inline int aipo_png_read(
  const unsigned char *bytes /* [count] */, size_t count, aipo_png_header *header,
  unsigned char *pixels /* [height · row_bytes] or null */, size_t row_bytes,
  char *message /* [AIPO_PNG_MESSAGE] */) {
  aipo_png_input input = {bytes, count, 0};
  png_infop info = NULL;
  memset(message, 0, AIPO_PNG_MESSAGE);
  png_structp png = png_create_read_struct(
    PNG_LIBPNG_VER_STRING, message, aipo_png_error, aipo_png_warning);
  if (!png) {
    strcpy(message, "not enough memory");
    return 1;
  }
  info = png_create_info_struct(png);
  if (!info) {
    png_destroy_read_struct(&png, NULL, NULL);
    strcpy(message, "not enough memory");
    return 1;
  }
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_read_struct(&png, &info, NULL);
    return 1;
  }
  png_set_mem_fn(png, NULL, aipo_png_malloc, aipo_png_free);
  png_set_read_fn(png, &input, aipo_png_take);
  png_set_user_limits(png, 1 << 24, 1 << 24);
  png_set_chunk_malloc_max(png, 1 << 24);
  png_set_chunk_cache_max(png, 128);
  png_read_info(png, info);
  header->exif_count = 0;
#ifdef PNG_eXIf_SUPPORTED
  png_bytep exif = NULL;
  png_uint_32 exif_count = 0;
  if (png_get_eXIf_1(png, info, &exif_count, &exif) == PNG_INFO_eXIf) {
    header->exif_count = exif_count < AIPO_PNG_EXIF ? (int)exif_count : AIPO_PNG_EXIF;
    memcpy(header->exif, exif, (size_t)header->exif_count);
  }
#endif
  png_set_expand(png);
  if (png_get_bit_depth(png, info) == 16) {
    const uint16_t one = 1;
    if (*(const unsigned char *)&one) png_set_swap(png);
  }
  int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  header->width = png_get_image_width(png, info);
  header->height = png_get_image_height(png, info);
  header->channels = png_get_channels(png, info);
  header->depth = png_get_bit_depth(png, info);
  if (pixels) {
    if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "rows of unexpected length");
    for (int pass = 0; pass < passes; pass++)
      for (uint32_t y = 0; y < header->height; y++)
        png_read_row(png, pixels + (size_t)y * row_bytes, NULL);
    png_read_end(png, NULL);
  }
  png_destroy_read_struct(&png, &info, NULL);
  return 0;
}

/// Writes an 8-bit image of 1 (grey) or 3 (RGB) channels. Returns 0, or 1 with a message; the caller
/// frees `buffer->bytes` in both cases.
static inline int aipo_png_write(
  const unsigned char *pixels /* [height, width, channels] */, uint32_t width, uint32_t height,
  int channels, aipo_png_buffer *buffer, char *message /* [AIPO_PNG_MESSAGE] */) {
  png_infop info = NULL;
  memset(message, 0, AIPO_PNG_MESSAGE);
  png_structp png = png_create_write_struct(
    PNG_LIBPNG_VER_STRING, message, aipo_png_error, aipo_png_warning);
  if (!png) {
    strcpy(message, "not enough memory");
    return 1;
  }
  info = png_create_info_struct(png);
  if (!info) {
    png_destroy_write_struct(&png, NULL);
    strcpy(message, "not enough memory");
    return 1;
  }
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_write_struct(&png, &info);
    return 1;
  }
  png_set_write_fn(png, buffer, aipo_png_put, aipo_png_flush);
  png_set_IHDR(
    png, info, width, height, 8, channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
    PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (uint32_t y = 0; y < height; y++)
    png_write_row(png, pixels + (size_t)y * width * channels);
  png_write_end(png, NULL);
  png_destroy_write_struct(&png, &info);
  return 0;
}

#endif
