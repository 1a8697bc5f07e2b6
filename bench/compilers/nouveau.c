/*
 * What Mesa's driver for NVIDIA's cards asks the kernel, answered for one that is not there (CHIPSET, in hexadecimal: 180 is an H100). Numbers and
 * layouts: Linux' include/uapi/drm/nouveau_drm.h and nvif.
 */
#include "card.h"

enum { GETPARAM = 0x00, CHANNEL_ALLOC = 0x02, NVIF = 0x07, ZCULL = 0x13, GEM_NEW = 0x40 };
enum { NVIF_SCLASS = 1, NVIF_METHOD = 4, NVIF_HEADER = 24, MEMORY_GB = 80 };

/* Classes of a family's engines: 3D, compute, copy; and a device of it. */
static const struct {
  unsigned chipset;
  uint16_t graphics, compute, copy, device;
} families[] = {
    {0x190, 0xc997, 0xc9c0, 0xc7b5, 0x2684}, /* Ada */
    {0x180, 0xcb97, 0xcbc0, 0xc8b5, 0x2330}, /* Hopper */
    {0x172, 0xc797, 0xc7c0, 0xc7b5, 0x2204}, /* Ampere, RTX 30 */
    {0x170, 0xc697, 0xc6c0, 0xc6b5, 0x20b0}, /* Ampere, A100 */
    {0, 0xc597, 0xc5c0, 0xc5b5, 0x1e07},     /* Turing */
};

static unsigned chipset(void) { return setting("CHIPSET", 0x180); }
static int family(void) {
  int i = 0;
  while (chipset() < families[i].chipset) i++;
  return i;
}

static Identity identity(void) { return (Identity){0x10de, families[family()].device, 0x10de, 0, 0}; }
static Version version = {1, 4, 0, 7, "nouveau", 0, "", 0, ""};

static int parameter(uint64_t *get) {
  uint64_t *value = get + 1;
  switch (get[0]) {
    case 3: *value = 0x10de; return 0;                        /* vendor */
    case 4: *value = families[family()].device; return 0;     /* device */
    case 5: *value = 2; return 0;                             /* bus: PCIe */
    case 8: case 18: *value = (uint64_t)MEMORY_GB << 30; return 0; /* memory, and its window */
    case 9: *value = 1ull << 36; return 0;                    /* what the host shares */
    case 11: *value = chipset(); return 0;
    case 13: *value = 8 | 66 << 8; return 0;                  /* graphics and texture clusters */
    case 17: *value = 512; return 0;                          /* pushes of a submit */
    case 14: case 15: case 20: *value = 1; return 0;          /* time, use of buffers, tiling */
    case 19: *value = 4096; return 0;                         /* memory used */
    default: return -EINVAL;
  }
}

static void object(uint8_t *call) {
  uint8_t *data = call + NVIF_HEADER;
  if (call[1] == NVIF_METHOD) {
    uint8_t *info = data + 8;
    const uint64_t memory = (uint64_t)MEMORY_GB << 30;
    info[1] = 3;
    *(uint16_t *)(info + 2) = (uint16_t)chipset();
    memcpy(info + 8, &memory, 8);
    memcpy(info + 16, &memory, 8);
  } else if (call[1] == NVIF_SCLASS) {
    struct {
      int32_t class;
      int16_t least, most;
    } *list = (void *)(data + 8);
    const uint16_t all[] = {0xa140, 0x902d, families[family()].graphics, families[family()].compute, families[family()].copy};
    for (int i = 0; i < 5 && i < data[1]; i++) {
      list[i].class = all[i];
      list[i].least = list[i].most = -1;
    }
    data[1] = 5;
  }
}

static int command(unsigned number, void *data) {
  uint32_t *words = data;
  switch (number) {
    case GETPARAM: return parameter(data);
    case NVIF: object(data); return 0;
    case CHANNEL_ALLOC:
      words[2] = 1;
      words[3] = 6;
      words[4] = handles++;
      return 0;
    case GEM_NEW: { /* handle, domain; size, offset, place in the file */
      uint64_t *sizes = (uint64_t *)(words + 2);
      sizes[1] = sizes[2] = create(sizes[0], words);
      return 0;
    }
    case ZCULL: return -EINVAL;
    default: return 0;
  }
}
