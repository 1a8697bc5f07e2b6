/*
 * libdrm for a card that is not there: what a driver of Mesa's asks of it is answered by the file that includes this, which says what the card
 * is and what its kernel driver answers. Taken in by LD_PRELOAD; the card's file is an empty one, NODE.
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

enum { RENDER_AND_PRIMARY = 5, PLATFORM_BUS = 2 };

/* Of the card: its PCI identity, its kernel driver, and what that answers to a command; 0 or an error, negative. */
static Identity identity(void);
static Version version;
static int command(unsigned number, void *data);

/* Of what a number in hexadecimal in the environment says. */
static unsigned setting(const char *name, unsigned otherwise) {
  const char *text = getenv(name);
  return text ? (unsigned)strtoul(text, NULL, 16) : otherwise;
}

static uint32_t handles = 1;

/* A buffer's handle, and where it lies in the card's file. */
static uint64_t create(uint64_t size, uint32_t *handle) {
  static uint64_t next = 1 << 16;
  const uint64_t at = next;
  *handle = handles++;
  next += (size + 0xffff) & ~0xffffull;
  return at;
}

static Device *device(void) {
  static char *nodes[3];
  static Place place = {0, 1, 0, 0};
  static Identity own;
  static Device device = {nodes, RENDER_AND_PRIMARY, 0, &place, &own};
  nodes[0] = nodes[2] = getenv("NODE");
  own = identity();
#ifdef PLATFORM /* part of a chip, named by what it is compatible with */
  static char *compatible[] = {PLATFORM, NULL}, **platform = compatible, name[512] = "gpu";
  device.bus = PLATFORM_BUS;
  device.place = (Place *)name;
  device.identity = (Identity *)&platform;
#endif
  return &device;
}

int drmIoctl(int fd, unsigned long request, void *data) {
  const unsigned number = request & 0xff;
  if (number >= 0x40 && number < 0xa0) {
    const int error = command(number - 0x40, data);
    errno = -error;
    return error ? -1 : 0;
  }
  if (number == 0x0c) ((uint64_t *)data)[1] = 1;     /* a capability */
  if (number == 0xbf) *(uint32_t *)data = handles++; /* a syncobj */
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
Version *drmGetVersion(int fd) { return &version; }
void drmFreeVersion(Version *version) {}
int drmGetCap(int fd, uint64_t capability, uint64_t *value) { return (*value = 1, 0); }
int drmSyncobjCreate(int fd, uint32_t flags, uint32_t *handle) { return (*handle = handles++, 0); }

#define DONE(name) \
  int name(void) { return 0; }
DONE(drmSyncobjDestroy) DONE(drmSyncobjWait) DONE(drmSyncobjReset) DONE(drmSyncobjSignal) DONE(drmSyncobjTimelineSignal)
DONE(drmSyncobjTimelineWait) DONE(drmSyncobjQuery) DONE(drmSyncobjQuery2) DONE(drmSyncobjTransfer) DONE(drmSyncobjHandleToFD)
DONE(drmSyncobjFDToHandle) DONE(drmSyncobjExportSyncFile) DONE(drmSyncobjImportSyncFile) DONE(drmCloseBufferHandle)
DONE(drmPrimeHandleToFD) DONE(drmPrimeFDToHandle)
