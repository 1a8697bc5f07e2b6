/*
 * What Mesa's driver for NVIDIA's cards asks the kernel, answered for a card that is not there (CHIPSET, in hexadecimal: 180 is an H100). It takes
 * libdrm's place by LD_PRELOAD; the card's file is an empty one (NODE). Numbers and layouts: Linux' include/uapi/drm/nouveau_drm.h and nvif.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint16_t domain;
  uint8_t bus, slot, function;
} Place;
typedef struct {
  uint16_t vendor, device, subvendor, subdevice;
  uint8_t revision;
} Identity;
typedef struct {
  char **nodes;
  int available, bus;
  Place *place;
  Identity *identity;
} Device;
typedef struct {
  int major, minor, patch, nameLength;
  char *name;
  int dateLength;
  char *date;
  int descriptionLength;
  char *description;
} Version;

enum { GETPARAM = 0x00, CHANNEL_ALLOC = 0x02, NVIF = 0x07, ZCULL = 0x13, GEM_NEW = 0x40 };
enum { NVIF_SCLASS = 1, NVIF_METHOD = 4, NVIF_HEADER = 24 };
enum { RENDER_AND_PRIMARY = 5, MEMORY_GB = 80 };

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

static unsigned chipset(void) {
  const char *text = getenv("CHIPSET");
  return text ? (unsigned)strtoul(text, NULL, 16) : 0x180;
}
static int family(void) {
  int i = 0;
  while (chipset() < families[i].chipset) i++;
  return i;
}

static Device *device(void) {
  static char *nodes[3];
  static Place place = {0, 1, 0, 0};
  static Identity identity = {0x10de, 0, 0x10de, 0, 0};
  static Device device = {nodes, RENDER_AND_PRIMARY, 0, &place, &identity};
  nodes[0] = nodes[2] = getenv("NODE");
  identity.device = families[family()].device;
  return &device;
}

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

static uint32_t handles = 1;

static int command(unsigned number, void *data) {
  static uint64_t next = 1 << 16;
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
      words[0] = handles++;
      sizes[1] = sizes[2] = next;
      next += (sizes[0] + 0xffff) & ~0xffffull;
      return 0;
    }
    case ZCULL: return -EINVAL;
    default: return 0;
  }
}

int drmIoctl(int fd, unsigned long request, void *data) {
  const unsigned number = request & 0xff;
  if (number >= 0x40 && number < 0xa0) {
    const int error = command(number - 0x40, data);
    errno = -error;
    return error ? -1 : 0;
  }
  if (number == 0x0c) ((uint64_t *)data)[1] = 1;           /* a capability */
  if (number == 0xbf) *(uint32_t *)data = handles++;       /* a syncobj */
  return 0;
}
int drmCommandWriteRead(int fd, unsigned long number, void *data, unsigned long size) { return command(number, data); }
int drmCommandWrite(int fd, unsigned long number, void *data, unsigned long size) { return command(number, data); }
int drmCommandRead(int fd, unsigned long number, void *data, unsigned long size) { return command(number, data); }
int drmGetDevices2(uint32_t flags, Device **out, int count) {
  if (out && count > 0) out[0] = device();
  return 1;
}
int drmGetDevice2(int fd, uint32_t flags, Device **out) { return (*out = device(), 0); }
int drmGetDeviceFromDevId(uint64_t id, uint32_t flags, Device **out) { return (*out = device(), 0); }
void drmFreeDevices(Device **devices, int count) {}
void drmFreeDevice(Device **device) {}
Version *drmGetVersion(int fd) {
  static Version version = {1, 4, 0, 7, "nouveau", 0, "", 0, ""};
  return &version;
}
void drmFreeVersion(Version *version) {}
int drmGetCap(int fd, uint64_t capability, uint64_t *value) { return (*value = 1, 0); }
int drmSyncobjCreate(int fd, uint32_t flags, uint32_t *handle) { return (*handle = handles++, 0); }

#define DONE(name) \
  int name(void) { return 0; }
DONE(drmSyncobjDestroy) DONE(drmSyncobjWait) DONE(drmSyncobjReset) DONE(drmSyncobjSignal) DONE(drmSyncobjTimelineSignal)
DONE(drmSyncobjTimelineWait) DONE(drmSyncobjQuery2) DONE(drmSyncobjTransfer) DONE(drmSyncobjHandleToFD) DONE(drmSyncobjFDToHandle)
DONE(drmSyncobjExportSyncFile) DONE(drmSyncobjImportSyncFile) DONE(drmCloseBufferHandle) DONE(drmPrimeHandleToFD) DONE(drmPrimeFDToHandle)
