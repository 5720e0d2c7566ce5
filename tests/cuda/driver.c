/* A CUDA driver that has no device: its memory is the host's, and kernels are taken and not run.
 *
 * What the program does with CUDA up to the device is then the same as with one: kernels are compiled
 * by NVRTC, arguments are put together, launches are counted, and an update takes the time that the
 * host needs for it. What comes back is zeros.
 *
 *     cc -shared -fPIC -o libcuda.so.1 tests/cuda/driver.c
 *
 * NULL_DRIVER_CAPABILITY is the compute capability of the device (90), NULL_DRIVER_LOG a file for a line
 * for each kernel that is compiled ("compiled NAME") or launched ("launched NAME"). Signatures and
 * numbers of attributes are those of cuda.h. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef int Device;
typedef void *Handle;
typedef uint64_t Memory;

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101 };

static void record(const char *what, const char *name, int length) {
  const char *path = getenv("NULL_DRIVER_LOG");
  if (!path)
    return;
  static FILE *file;
  if (!file)
    file = fopen(path, "a");
  if (file) {
    fprintf(file, "%s %.*s\n", what, length, name);
    fflush(file);
  }
}

/* The device */

Result cuInit(unsigned flags) { return SUCCESS; }
Result cuDriverGetVersion(int *version) { return *version = 12080, SUCCESS; }
Result cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }

Result cuDeviceGet(Device *device, int index) {
  *device = index;
  return index == 0 ? SUCCESS : INVALID_DEVICE;
}

Result cuDeviceGetName(char *name, int length, Device device) {
  snprintf(name, length, "no device");
  return SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t *bytes, Device device) {
  *bytes = (size_t)8 << 30;
  return SUCCESS;
}

Result cuDeviceGetAttribute(int *value, int attribute, Device device) {
  const char *set = getenv("NULL_DRIVER_CAPABILITY");
  int capability = set ? atoi(set) : 90;
  switch (attribute) {
  case 1:  /* threads per block */
  case 2:  /* and along the first axis */
  case 3:  /* the second */
    *value = 1024;
    break;
  case 4: /* the third */
    *value = 64;
    break;
  case 5: /* blocks along the first axis */
    *value = 2147483647;
    break;
  case 6: /* the second */
  case 7: /* the third */
    *value = 65535;
    break;
  case 8: /* shared memory per block */
    *value = 49152;
    break;
  case 10: /* warp */
    *value = 32;
    break;
  case 16: /* multiprocessors */
    *value = 132;
    break;
  case 75: /* compute capability */
    *value = capability / 10;
    break;
  case 76:
    *value = capability % 10;
    break;
  case 97: /* shared memory per block that can be asked for */
    *value = capability < 90 ? 101376 : 232448;
    break;
  default:
    *value = 1;
  }
  return SUCCESS;
}

Result cuDevicePrimaryCtxRetain(Handle *context, Device device) {
  *context = (Handle)1;
  return SUCCESS;
}
Result cuCtxSetCurrent(Handle context) { return SUCCESS; }

/* Streams and events: everything is done when it is asked for. */

Result cuStreamCreate(Handle *stream, unsigned flags) { return *stream = malloc(1), SUCCESS; }
Result cuStreamSynchronize(Handle stream) { return SUCCESS; }
Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) { return SUCCESS; }
Result cuEventCreate(Handle *event, unsigned flags) { return *event = malloc(1), SUCCESS; }
Result cuEventDestroy_v2(Handle event) { return free(event), SUCCESS; }
Result cuEventRecord(Handle event, Handle stream) { return SUCCESS; }
Result cuEventSynchronize(Handle event) { return SUCCESS; }

/* Memory */

static void *pointer(Memory memory) { return (void *)(uintptr_t)memory; }

Result cuMemAlloc_v2(Memory *memory, size_t bytes) {
  *memory = (Memory)(uintptr_t)calloc(1, bytes ? bytes : 1);
  return *memory ? SUCCESS : OUT_OF_MEMORY;
}
Result cuMemAllocAsync(Memory *memory, size_t bytes, Handle stream) {
  return cuMemAlloc_v2(memory, bytes);
}
Result cuMemFree_v2(Memory memory) { return free(pointer(memory)), SUCCESS; }
Result cuMemFreeAsync(Memory memory, Handle stream) { return cuMemFree_v2(memory); }
Result cuMemAllocHost_v2(void **memory, size_t bytes) {
  *memory = calloc(1, bytes ? bytes : 1);
  return *memory ? SUCCESS : OUT_OF_MEMORY;
}
Result cuMemFreeHost(void *memory) { return free(memory), SUCCESS; }

Result cuMemcpyHtoDAsync_v2(Memory to, const void *from, size_t bytes, Handle stream) {
  memcpy(pointer(to), from, bytes);
  return SUCCESS;
}
Result cuMemcpyDtoHAsync_v2(void *to, Memory from, size_t bytes, Handle stream) {
  memcpy(to, pointer(from), bytes);
  return SUCCESS;
}

/* CUDA_MEMCPY2D */
struct End {
  size_t x, y;
  unsigned type;
  void *host;
  Memory device;
  Handle array;
  size_t pitch;
};
struct Copy2D {
  struct End from, to;
  size_t width, height;
};

static char *begin(const struct End *end) {
  enum { HOST = 1 };
  char *memory = end->type == HOST ? end->host : pointer(end->device);
  return memory + end->y * end->pitch + end->x;
}

Result cuMemcpy2DAsync_v2(const struct Copy2D *copy, Handle stream) {
  for (size_t y = 0; y < copy->height; y++)
    memcpy(begin(&copy->to) + y * copy->to.pitch, begin(&copy->from) + y * copy->from.pitch,
           copy->width);
  return SUCCESS;
}

/* Kernels: a function is its name. */

Result cuModuleLoadData(Handle *module, const void *ptx) {
  const char *entry = strstr(ptx, ".entry ");
  if (entry)
    record("compiled", entry + 7, strcspn(entry + 7, "("));
  return *module = malloc(1), SUCCESS;
}
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) {
  return *function = strdup(name), SUCCESS;
}
Result cuFuncSetAttribute(Handle function, int attribute, int value) { return SUCCESS; }
Result cuLaunchKernel(Handle function, unsigned x, unsigned y, unsigned z, unsigned threads_x,
                      unsigned threads_y, unsigned threads_z, unsigned shared, Handle stream,
                      void **arguments, void **more) {
  record("launched", function, strlen(function));
  return SUCCESS;
}

Result cuGetErrorName(Result error, const char **name) { return *name = "error", SUCCESS; }
Result cuGetErrorString(Result error, const char **text) { return *text = "error", SUCCESS; }
