/* What Mesa's driver for Intel's cards asks the kernel, answered for one that is not there (DEVICE, its PCI id in hexadecimal: 56a0 is an Arc A770). */
#include <libdrm/i915_drm.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "card.h"

enum { EUS = 16, MEMORY_GB = 16, FULL_PPGTT = 3, MMAP_OFFSET = 4 };

static uint16_t card(void) { return (uint16_t)setting("DEVICE", 0x56a0); }
static int isArc(void) { return (card() & 0xff00) == 0x5600; }
static int slices(void) { return isArc() ? 8 : 1; }
static int subslices(void) { return isArc() ? 4 : 6; }

static Identity identity(void) { return (Identity){0x8086, card(), 0x8086, 0, 8}; }
static Version version = {1, 6, 0, 4, "i915", 0, "", 0, ""};

static int parameter(struct drm_i915_getparam *get) {
  switch (get->param) {
    case I915_PARAM_CHIPSET_ID: *get->value = card(); return 0;
    case I915_PARAM_REVISION: *get->value = 8; return 0;
    case I915_PARAM_CS_TIMESTAMP_FREQUENCY: *get->value = 19200000; return 0;
    case I915_PARAM_HAS_ALIASING_PPGTT: *get->value = FULL_PPGTT; return 0;
    case I915_PARAM_MMAP_VERSION: case I915_PARAM_MMAP_GTT_VERSION: *get->value = MMAP_OFFSET; return 0;
    case I915_PARAM_CMD_PARSER_VERSION: *get->value = 10; return 0;
    case I915_PARAM_SUBSLICE_TOTAL: *get->value = slices() * subslices(); return 0;
    case I915_PARAM_EU_TOTAL: *get->value = slices() * subslices() * EUS; return 0;
    case I915_PARAM_PERF_REVISION: *get->value = 3; return 0;
    case I915_PARAM_HAS_BSD: case I915_PARAM_HAS_LLC: case I915_PARAM_HAS_VEBOX: case I915_PARAM_HAS_USERPTR_PROBE: *get->value = 0; return 0;
    default: *get->value = 1; return 0; /* it has what is asked for */
  }
}

/* Bits set for all slices, subslices and units. */
static int topology(struct drm_i915_query_item *item) {
  const int all = slices() * subslices(), length = sizeof(struct drm_i915_query_topology_info) + 1 + slices() + all * EUS / 8;
  struct drm_i915_query_topology_info *info = (void *)(uintptr_t)item->data_ptr;
  if (item->length == 0) return item->length = length;
  info->max_slices = slices();
  info->max_subslices = subslices();
  info->max_eus_per_subslice = EUS;
  info->subslice_offset = info->subslice_stride = 1;
  info->eu_offset = 1 + slices();
  info->eu_stride = EUS / 8;
  info->data[0] = (1u << slices()) - 1;
  memset(info->data + 1, (1 << subslices()) - 1, slices());
  memset(info->data + 1 + slices(), 0xff, all * EUS / 8);
  return 0;
}
static int engines(struct drm_i915_query_item *item) {
  struct drm_i915_query_engine_info *info = (void *)(uintptr_t)item->data_ptr;
  const int length = sizeof *info + 2 * sizeof *info->engines;
  if (item->length == 0) return item->length = length;
  memset(info, 0, length);
  info->num_engines = 2;
  info->engines[0].engine.engine_class = I915_ENGINE_CLASS_RENDER;
  info->engines[1].engine.engine_class = I915_ENGINE_CLASS_COPY;
  return 0;
}
static int regions(struct drm_i915_query_item *item) {
  struct drm_i915_query_memory_regions *info = (void *)(uintptr_t)item->data_ptr;
  const int count = isArc() ? 2 : 1, length = sizeof *info + count * sizeof *info->regions;
  if (item->length == 0) return item->length = length;
  memset(info, 0, length);
  info->num_regions = count;
  for (int i = 0; i < count; i++) {
    info->regions[i].region.memory_class = i ? I915_MEMORY_CLASS_DEVICE : I915_MEMORY_CLASS_SYSTEM;
    info->regions[i].probed_size = info->regions[i].unallocated_size = (uint64_t)MEMORY_GB << 30;
    info->regions[i].probed_cpu_visible_size = info->regions[i].unallocated_cpu_visible_size = (uint64_t)MEMORY_GB << 30;
  }
  return 0;
}
static int query(struct drm_i915_query *all) {
  struct drm_i915_query_item *items = (void *)(uintptr_t)all->items_ptr;
  for (uint32_t i = 0; i < all->num_items; i++) {
    switch (items[i].query_id) {
      case DRM_I915_QUERY_TOPOLOGY_INFO: case DRM_I915_QUERY_GEOMETRY_SUBSLICES: topology(&items[i]); break;
      case DRM_I915_QUERY_ENGINE_INFO: engines(&items[i]); break;
      case DRM_I915_QUERY_MEMORY_REGIONS: regions(&items[i]); break;
      default: items[i].length = -EINVAL;
    }
  }
  return 0;
}

static uint64_t places[1 << 16]; /* of a buffer in the card's file, by handle */

static void createBuffer(uint64_t size, uint32_t *handle) {
  const uint64_t at = create(size, handle);
  places[*handle & 0xffff] = at;
}

static int command(unsigned number, void *data) {
  switch (number) {
    case DRM_I915_GETPARAM: return parameter(data);
    case DRM_I915_QUERY: return query(data);
    case DRM_I915_GEM_CREATE: case DRM_I915_GEM_CREATE_EXT: { /* size and handle lie alike in both */
      struct drm_i915_gem_create *c = data;
      createBuffer(c->size, &c->handle);
      return 0;
    }
    case DRM_I915_GEM_USERPTR: {
      struct drm_i915_gem_userptr *u = data;
      createBuffer(u->user_size, &u->handle);
      return 0;
    }
    case DRM_I915_GEM_MMAP_GTT: {
      struct drm_i915_gem_mmap_offset *m = data;
      m->offset = places[m->handle & 0xffff];
      return 0;
    }
    case DRM_I915_GEM_CONTEXT_CREATE: ((struct drm_i915_gem_context_create *)data)->ctx_id = 1; return 0;
    case DRM_I915_GEM_VM_CREATE: ((struct drm_i915_gem_vm_control *)data)->vm_id = 1; return 0;
    case DRM_I915_GEM_CONTEXT_GETPARAM: {
      struct drm_i915_gem_context_param *p = data;
      p->value = p->param == I915_CONTEXT_PARAM_GTT_SIZE ? 1ull << 48 : 0;
      return 0;
    }
    case DRM_I915_GEM_GET_APERTURE: {
      struct drm_i915_gem_get_aperture *a = data;
      a->aper_size = a->aper_available_size = 1ull << 48;
      return 0;
    }
    default: return 0;
  }
}

int ioctl(int fd, unsigned long request, ...) { /* this driver goes past libdrm */
  va_list list;
  va_start(list, request);
  void *data = va_arg(list, void *);
  va_end(list);
  return (request >> 8 & 0xff) == 'd' ? drmIoctl(fd, request, data) : (int)syscall(SYS_ioctl, fd, request, data);
}
