/// What Swift can't call of libtiff: its variadic getters, and its handlers of errors. Files are read by a function of the
/// caller's, never mapped.
#ifndef AIPO_TIFF_SHIM_H
#define AIPO_TIFF_SHIM_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

enum { AIPO_TIFF_MESSAGE = 160, AIPO_TIFF_ALPHA = 4, AIPO_TIFF_DESCRIPTION = 1024 };

typedef struct {
  /* Reads up to `count` bytes at `offset`, and says how many. */
  size_t (*read)(const void *context, uint64_t offset, void *bytes, size_t count);
  const void *context;
  uint64_t size, position;
  char message[AIPO_TIFF_MESSAGE]; /* the first error */
  int warnings;
} aipo_tiff_source;

typedef struct {
  uint64_t offset; /* of the directory */
  uint32_t width, height;
  uint32_t tile_width, tile_height; /* 0 where there are strips */
  uint32_t rows_per_strip;
  uint32_t subfile_type;
  uint16_t samples, bits, format, photometric, planar, compression, orientation;
  uint16_t extra_count;
  uint16_t extra[AIPO_TIFF_ALPHA]; /* what the first extra samples are */
  uint16_t resolution_unit;
  float x_resolution, y_resolution; /* 0 where there is none */
  char description[AIPO_TIFF_DESCRIPTION]; /* its beginning */
} aipo_tiff_page;

static inline tmsize_t aipo_tiff_take(thandle_t handle, void *bytes, tmsize_t count) {
  aipo_tiff_source *source = (aipo_tiff_source *)handle;
  if (count <= 0 || source->position >= source->size) return 0;
  uint64_t left = source->size - source->position;
  size_t wanted = (uint64_t)count < left ? (size_t)count : (size_t)left;
  size_t found = source->read(source->context, source->position, bytes, wanted);
  source->position += found;
  return (tmsize_t)found;
}
static inline tmsize_t aipo_tiff_put(thandle_t handle, void *bytes, tmsize_t count) {
  (void)handle;
  (void)bytes;
  (void)count;
  return 0;
}
static inline toff_t aipo_tiff_seek(thandle_t handle, toff_t offset, int whence) {
  aipo_tiff_source *source = (aipo_tiff_source *)handle;
  if (whence == SEEK_CUR) offset += source->position;
  if (whence == SEEK_END) offset += source->size;
  source->position = offset;
  return offset;
}
static inline int aipo_tiff_close(thandle_t handle) {
  (void)handle;
  return 0;
}
static inline toff_t aipo_tiff_size(thandle_t handle) { return ((aipo_tiff_source *)handle)->size; }

static inline void aipo_tiff_note(aipo_tiff_source *source, const char *format, va_list arguments) {
  if (!source->message[0]) vsnprintf(source->message, AIPO_TIFF_MESSAGE, format, arguments);
}
static inline int aipo_tiff_error(
  TIFF *tiff, void *source, const char *module, const char *format, va_list arguments) {
  (void)tiff;
  (void)module;
  aipo_tiff_note((aipo_tiff_source *)source, format, arguments);
  return 1;
}
static inline int aipo_tiff_warning(
  TIFF *tiff, void *source, const char *module, const char *format, va_list arguments) {
  (void)tiff;
  (void)module;
  (void)format;
  (void)arguments;
  ((aipo_tiff_source *)source)->warnings++;
  return 1;
}

/// Opens a file and reads its first directory; null where that fails. No allocation of libtiff's is larger than `limit`.
static inline TIFF *aipo_tiff_open(aipo_tiff_source *source, size_t limit) {
  /* Only for reading, and not by mapping. */
  const char *mode = "rm";
#if TIFFLIB_VERSION >= 20221213
  TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
  if (!options) return NULL;
  TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)limit);
  TIFFOpenOptionsSetErrorHandlerExtR(options, aipo_tiff_error, source);
  TIFFOpenOptionsSetWarningHandlerExtR(options, aipo_tiff_warning, source);
  TIFF *tiff = TIFFClientOpenExt(
    "", mode, (thandle_t)source, aipo_tiff_take, aipo_tiff_put, aipo_tiff_seek, aipo_tiff_close,
    aipo_tiff_size, NULL, NULL, options);
  TIFFOpenOptionsFree(options);
  return tiff;
#else
  /* Before 4.5 handlers are one for all files, and there is no limit. */
  (void)limit;
  TIFFSetErrorHandler(NULL);
  TIFFSetWarningHandler(NULL);
  return TIFFClientOpen(
    "", mode, (thandle_t)source, aipo_tiff_take, aipo_tiff_put, aipo_tiff_seek, aipo_tiff_close,
    aipo_tiff_size, NULL, NULL);
#endif
}

/// What the current directory says. Returns 0 where it has no size.
static inline int aipo_tiff_describe(TIFF *tiff, aipo_tiff_page *page) {
  memset(page, 0, sizeof *page);
  page->offset = TIFFCurrentDirOffset(tiff);
  if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &page->width)) return 0;
  if (!TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &page->height)) return 0;
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &page->samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &page->bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &page->format);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &page->planar);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &page->compression);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &page->orientation);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SUBFILETYPE, &page->subfile_type);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &page->rows_per_strip);
  if (!TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &page->photometric))
    page->photometric = page->samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK;
  if (TIFFIsTiled(tiff)) {
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &page->tile_width);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &page->tile_height);
  }
  uint16_t *extra = NULL;
  uint16_t count = 0;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &count, &extra) && extra) {
    page->extra_count = count;
    for (int k = 0; k < count && k < AIPO_TIFF_ALPHA; k++) page->extra[k] = extra[k];
  }
  TIFFGetFieldDefaulted(tiff, TIFFTAG_RESOLUTIONUNIT, &page->resolution_unit);
  TIFFGetField(tiff, TIFFTAG_XRESOLUTION, &page->x_resolution);
  TIFFGetField(tiff, TIFFTAG_YRESOLUTION, &page->y_resolution);
  char *description = NULL;
  if (TIFFGetField(tiff, TIFFTAG_IMAGEDESCRIPTION, &description) && description)
    strncpy(page->description, description, AIPO_TIFF_DESCRIPTION - 1);
  return 1;
}

/// JPEG's own colours become RGB.
static inline void aipo_tiff_want_rgb(TIFF *tiff) {
  TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
}

/// The three maps of a palette, `[2^bits]` each and kept by libtiff; 0 where there are none.
static inline int aipo_tiff_palette(TIFF *tiff, uint16_t **red, uint16_t **green, uint16_t **blue) {
  return TIFFGetField(tiff, TIFFTAG_COLORMAP, red, green, blue);
}

#endif
