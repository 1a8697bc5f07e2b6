/*
 * What Mesa's driver for Apple's GPUs asks the kernel, answered for one that is not there: an M1 (GENERATION 13), or an M2 (14). Layouts: Linux'
 * include/uapi/drm/asahi_drm.h.
 */
#define PLATFORM "apple,agx-t8103"
#include "card.h"

enum { GET_PARAMS, GET_TIME, VM_CREATE, VM_DESTROY, VM_BIND, GEM_CREATE, GEM_MMAP_OFFSET, GEM_BIND_OBJECT, QUEUE_CREATE };
enum { CLUSTERS = 64, CORES = 8 };

typedef struct {
  uint64_t features;
  uint32_t generation, variant, revision, chip, dies, clusters, coresOfCluster, maxKHz;
  uint64_t cores[CLUSTERS], start, end, kernelSize;
  uint32_t commands, attachments;
  uint64_t timestampHz;
} Parameters;

static Identity identity(void) { return (Identity){0}; }
static Version version = {1, 0, 0, 5, "asahi", 0, "", 0, ""};

static void parameters(uint32_t *call) {
  const uint32_t generation = setting("GENERATION", 0x13) == 0x14 ? 14 : 13;
  Parameters all = {1, generation, 'G', 0, generation == 14 ? 0x8112 : 0x8103, 1, 1, CORES, 1278000, {(1 << CORES) - 1}, 1 << 14, 1ull << 39, 1 << 29, 64, 16, 24000000};
  uint64_t *at = (uint64_t *)(call + 2); /* group, pad; pointer, size */
  memcpy((void *)(uintptr_t)at[0], &all, at[1] < sizeof all ? at[1] : sizeof all);
}

static int command(unsigned number, void *data) {
  static uint64_t places[1 << 16];
  uint32_t *words = data;
  uint64_t *longs = data;
  switch (number) {
    case GET_PARAMS: parameters(words); return 0;
    case GET_TIME: longs[1] = 1; return 0;
    case VM_CREATE: words[4] = 1; return 0;      /* start, end; id */
    case GEM_CREATE: {                           /* size; flags, vm, handle */
      const uint64_t at = create(longs[0], words + 4);
      places[words[4] & 0xffff] = at;
      return 0;
    }
    case GEM_MMAP_OFFSET: longs[1] = places[words[0] & 0xffff]; return 0; /* handle, flags; offset */
    case GEM_BIND_OBJECT: words[8] = handles++; return 0;
    case QUEUE_CREATE: words[3] = 1; return 0;
    default: return 0;
  }
}

int drmDevicesEqual(Device *a, Device *b) { return 1; }
