/*
 * A Vulkan driver in front of another, for cards that are not there: pipelines are compiled by the driver behind it, and what its compiler
 * says of each goes to stderr; memory is the process' own, commands, submits and fences do nothing. Built and used by `bun bench --compile`;
 * DRIVER names the library behind, with COMPILED_TEXT its assembly is printed too.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vulkan/vulkan.h>

typedef PFN_vkVoidFunction (*Lookup)(VkInstance, const char *);
typedef VkResult (*Negotiate)(uint32_t *);

static void *library;
static Lookup instanceProc, physicalDeviceProc;
static PFN_vkGetDeviceProcAddr deviceProc;
static PFN_vkCreateDevice createDevice;
static PFN_vkCreateComputePipelines createPipelines;
static PFN_vkGetBufferMemoryRequirements requirements;
static PFN_vkGetBufferMemoryRequirements2 requirements2;
static PFN_vkGetPipelineExecutablePropertiesKHR properties;
static PFN_vkGetPipelineExecutableStatisticsKHR statistics;
static PFN_vkGetPipelineExecutableInternalRepresentationsKHR representations;

static void load(void) {
  if (library) return;
  const char *path = getenv("DRIVER");
  library = path ? dlopen(path, RTLD_NOW) : NULL;
  if (!library) {
    fprintf(stderr, "DRIVER %s: %s\n", path ? path : "is not given", path ? dlerror() : "");
    exit(3);
  }
  instanceProc = (Lookup)dlsym(library, "vk_icdGetInstanceProcAddr");
  physicalDeviceProc = (Lookup)dlsym(library, "vk_icdGetPhysicalDeviceProcAddr");
}

static long nothing(void) { return 0; }

/* Memory: one kind, of this process. Pages that nobody touches cost nothing. */
typedef struct {
  void *at;
  size_t size;
} Memory;

static VkResult allocateMemory(VkDevice d, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *a, VkDeviceMemory *out) {
  Memory *memory = malloc(sizeof *memory);
  memory->size = info->allocationSize;
  memory->at = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *out = (VkDeviceMemory)memory;
  return memory->at == MAP_FAILED ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_SUCCESS;
}
static void freeMemory(VkDevice d, VkDeviceMemory handle, const VkAllocationCallbacks *a) {
  Memory *memory = (Memory *)handle;
  if (!memory) return;
  munmap(memory->at, memory->size);
  free(memory);
}
static VkResult mapMemory(VkDevice d, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size, VkMemoryMapFlags f, void **out) {
  *out = (char *)((Memory *)memory)->at + offset;
  return VK_SUCCESS;
}
static void memoryProperties(VkPhysicalDevice d, VkPhysicalDeviceMemoryProperties *p) {
  memset(p, 0, sizeof *p);
  p->memoryHeapCount = p->memoryTypeCount = 1;
  p->memoryHeaps[0].size = 64ull << 30;
  p->memoryHeaps[0].flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
  p->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                    VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
}
static void memoryProperties2(VkPhysicalDevice d, VkPhysicalDeviceMemoryProperties2 *p) { memoryProperties(d, &p->memoryProperties); }
static void bufferRequirements(VkDevice d, VkBuffer b, VkMemoryRequirements *r) {
  requirements(d, b, r);
  r->memoryTypeBits = 1;
}
static void bufferRequirements2(VkDevice d, const VkBufferMemoryRequirementsInfo2 *b, VkMemoryRequirements2 *r) {
  requirements2(d, b, r);
  r->memoryRequirements.memoryTypeBits = 1;
}
static VkResult createFence(VkDevice d, const VkFenceCreateInfo *i, const VkAllocationCallbacks *a, VkFence *out) {
  *out = (VkFence)malloc(1);
  return VK_SUCCESS;
}

/* The device, with the extension by which drivers tell of their pipelines. */
static VkResult createDeviceWithStatistics(VkPhysicalDevice p, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *a, VkDevice *d) {
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, (void *)info->pNext, VK_TRUE};
  VkDeviceCreateInfo more = *info;
  const char **names = malloc((info->enabledExtensionCount + 1) * sizeof *names);
  if (info->enabledExtensionCount) memcpy(names, info->ppEnabledExtensionNames, info->enabledExtensionCount * sizeof *names);
  names[more.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
  more.ppEnabledExtensionNames = names;
  more.pNext = &feature;
  VkResult result = createDevice(p, &more, a, d);
  free(names);
  if (result) return result;
  properties = (PFN_vkGetPipelineExecutablePropertiesKHR)deviceProc(*d, "vkGetPipelineExecutablePropertiesKHR");
  statistics = (PFN_vkGetPipelineExecutableStatisticsKHR)deviceProc(*d, "vkGetPipelineExecutableStatisticsKHR");
  representations =
      (PFN_vkGetPipelineExecutableInternalRepresentationsKHR)deviceProc(*d, "vkGetPipelineExecutableInternalRepresentationsKHR");
  return result;
}

#define ARRAY(type, name, count, tag)            \
  type *name = calloc((count) + 1, sizeof *name); \
  for (uint32_t i = 0; i < (count); i++) name[i].sType = tag;

/* A line of JSON: "@compiled {...}". */
static void tell(VkDevice d, VkPipeline pipeline) {
  VkPipelineInfoKHR which = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, NULL, pipeline};
  uint32_t parts = 0, count = 0, texts = 0;
  properties(d, &which, &parts, NULL);
  ARRAY(VkPipelineExecutablePropertiesKHR, part, parts, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR)
  properties(d, &which, &parts, part);
  if (parts == 0) return;
  VkPipelineExecutableInfoKHR first = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, NULL, pipeline, 0};
  statistics(d, &first, &count, NULL);
  ARRAY(VkPipelineExecutableStatisticKHR, value, count, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR)
  statistics(d, &first, &count, value);
  fprintf(stderr, "@compiled {\"Subgroup size\":%u", part[0].subgroupSize);
  for (uint32_t i = 0; i < count; i++) {
    int isFloat = value[i].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
    fprintf(stderr, ",\"%s\":%.17g", value[i].name, isFloat ? value[i].value.f64 : (double)value[i].value.u64);
  }
  fprintf(stderr, "}\n");
  if (getenv("COMPILED_TEXT")) {
    representations(d, &first, &texts, NULL);
    ARRAY(VkPipelineExecutableInternalRepresentationKHR, text, texts, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR)
    representations(d, &first, &texts, text);
    for (uint32_t i = 0; i < texts; i++) text[i].pData = calloc(1, text[i].dataSize + 1);
    representations(d, &first, &texts, text);
    for (uint32_t i = 0; i < texts; i++) fprintf(stderr, "%s\n%s\n", text[i].name, (char *)text[i].pData);
  }
  free(part);
  free(value);
}

static VkResult createAndTell(VkDevice d, VkPipelineCache c, uint32_t count, const VkComputePipelineCreateInfo *info,
                              const VkAllocationCallbacks *a, VkPipeline *out) {
  VkComputePipelineCreateInfo *more = malloc(count * sizeof *more);
  memcpy(more, info, count * sizeof *more);
  for (uint32_t i = 0; i < count; i++) {
    more[i].flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    if (getenv("COMPILED_TEXT")) more[i].flags |= VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
  }
  VkResult result = createPipelines(d, VK_NULL_HANDLE, count, more, a, out); /* a cache would skip the compiler */
  free(more);
  for (uint32_t i = 0; i < count && result == VK_SUCCESS; i++) tell(d, out[i]);
  return result;
}

static const char *idle[] = {
    "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer", "vkResetCommandPool", "vkQueueSubmit", "vkQueueSubmit2",
    "vkQueueSubmit2KHR", "vkWaitForFences", "vkGetFenceStatus", "vkResetFences", "vkDestroyFence", "vkQueueWaitIdle", "vkDeviceWaitIdle",
    "vkUnmapMemory", "vkBindBufferMemory", "vkBindBufferMemory2", "vkBindBufferMemory2KHR", "vkFlushMappedMemoryRanges",
    "vkInvalidateMappedMemoryRanges", "vkUpdateDescriptorSets", "vkUpdateDescriptorSetWithTemplate"};

#define INSTEAD(of, own) \
  if (!strcmp(name, of)) return (PFN_vkVoidFunction)own;
#define AROUND(of, own, kept)       \
  if (!strcmp(name, of)) {          \
    kept = (void *)real;            \
    return (PFN_vkVoidFunction)own; \
  }

static PFN_vkVoidFunction ours(const char *name, PFN_vkVoidFunction real) {
  if (!real) return real;
  if (!strncmp(name, "vkCmd", 5)) return (PFN_vkVoidFunction)nothing;
  for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) INSTEAD(idle[i], nothing)
  INSTEAD("vkAllocateMemory", allocateMemory)
  INSTEAD("vkFreeMemory", freeMemory)
  INSTEAD("vkMapMemory", mapMemory)
  INSTEAD("vkCreateFence", createFence)
  INSTEAD("vkGetPhysicalDeviceMemoryProperties", memoryProperties)
  INSTEAD("vkGetPhysicalDeviceMemoryProperties2", memoryProperties2)
  INSTEAD("vkGetPhysicalDeviceMemoryProperties2KHR", memoryProperties2)
  AROUND("vkGetBufferMemoryRequirements", bufferRequirements, requirements)
  AROUND("vkGetBufferMemoryRequirements2", bufferRequirements2, requirements2)
  AROUND("vkGetBufferMemoryRequirements2KHR", bufferRequirements2, requirements2)
  AROUND("vkCreateComputePipelines", createAndTell, createPipelines)
  return real;
}

static PFN_vkVoidFunction ofDevice(VkDevice d, const char *name) { return ours(name, deviceProc(d, name)); }

PFN_vkVoidFunction vk_icdGetInstanceProcAddr(VkInstance instance, const char *name) {
  load();
  PFN_vkVoidFunction real = instanceProc(instance, name);
  if (instance && !deviceProc) deviceProc = (PFN_vkGetDeviceProcAddr)instanceProc(instance, "vkGetDeviceProcAddr");
  if (real) {
    INSTEAD("vkGetDeviceProcAddr", ofDevice)
    AROUND("vkCreateDevice", createDeviceWithStatistics, createDevice)
  }
  return ours(name, real);
}
PFN_vkVoidFunction vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name) {
  load();
  return physicalDeviceProc ? ours(name, physicalDeviceProc(instance, name)) : NULL;
}
VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  load();
  Negotiate negotiate = (Negotiate)dlsym(library, "vk_icdNegotiateLoaderICDInterfaceVersion");
  return negotiate ? negotiate(version) : VK_SUCCESS;
}
