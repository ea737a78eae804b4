/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of a kernel as the balloon driver's own files need to be compiled into a program.
 *
 * One thread: a work item runs when work.c says so. Whoever waits is looked at: not under a
 * spinlock, not in reclaim.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef u32 __le32;
typedef u32 __virtio32;
typedef unsigned int gfp_t;

#include "statistics.h"

#define LINUX_VERSION_CODE 0x60100
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define CONFIG_BALLOON_COMPACTION 1
#define CONFIG_PM_SLEEP 1

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define SZ_1M 0x100000
#define SZ_16M 0x1000000
#define PAGE_POISON 0xaa
#define MAX_ERRNO 4095
#define GFP_KERNEL 0
#define __GFP_NORETRY 0
#define __GFP_NOWARN 0

/*
 * A legacy device speaks as its guest does, which need not be as le32 is: `turned` stands for
 * that.
 */
#define cpu_to_virtio32(vdev, x) ((vdev)->turned ? __builtin_bswap32(x) : (x))
#define cpu_to_virtio16(vdev, x) (x)
#define cpu_to_virtio64(vdev, x) (x)
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, value) ((x) = (value))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define BIT_ULL(n) (1ULL << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define container_of(at, type, member) ((type *)((char *)(at) - offsetof(type, member)))
#define ERR_PTR(e) ((void *)(long)(e))
#define PTR_ERR(p) ((int)(long)(p))
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-MAX_ERRNO)
#define cond_resched() ((void)0)

/* What the tests read. */
void complain(const char *what, unsigned long number);
void may_wait(const char *wrong);
#define WARN_ON_ONCE(x) ((x) ? (complain("the driver warns: " #x, 0), true) : false)

/* Numbers that many count at once; here one thread does. */
typedef struct {
	s64 value;
} atomic64_t;
#define atomic64_read(at) ((at)->value)
#define atomic64_add(more, at) ((at)->value += (more))
#define atomic64_inc(at) ((void)++(at)->value)
#define atomic64_inc_return(at) (++(at)->value)

/* Lists. */
struct list_head {
	struct list_head *next, *prev;
};
#define LIST_HEAD_INIT(name) { &(name), &(name) }
#define LIST_HEAD(name) struct list_head name = LIST_HEAD_INIT(name)
static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list->prev = list;
}
static inline void list_add(struct list_head *one, struct list_head *head)
{
	one->next = head->next;
	one->prev = head;
	head->next->prev = one;
	head->next = one;
}
static inline void list_add_tail(struct list_head *one, struct list_head *head)
{
	list_add(one, head->prev);
}
static inline void list_del(struct list_head *one)
{
	one->prev->next = one->next;
	one->next->prev = one->prev;
}
static inline void list_move(struct list_head *one, struct list_head *head)
{
	list_del(one);
	list_add(one, head);
}
static inline void list_move_tail(struct list_head *one, struct list_head *head)
{
	list_del(one);
	list_add_tail(one, head);
}
static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}
#define list_first_entry(head, type, member) container_of((head)->next, type, member)
#define list_last_entry(head, type, member) container_of((head)->prev, type, member)
#define list_first_entry_or_null(head, type, member) \
	(list_empty(head) ? NULL : list_first_entry(head, type, member))
#define list_for_each_entry(at, head, member) \
	for (at = list_first_entry(head, __typeof__(*at), member); &at->member != (head); \
	     at = list_first_entry(&at->member, __typeof__(*at), member))
#define list_for_each_entry_safe(at, after, head, member) \
	for (at = list_first_entry(head, __typeof__(*at), member), \
	     after = list_first_entry(&at->member, __typeof__(*at), member); \
	     &at->member != (head); \
	     at = after, after = list_first_entry(&at->member, __typeof__(*at), member))

/* Locks. */
struct mutex {
	bool held;
};
typedef struct {
	bool held;
	bool lent; /* to another processor, which gives it back in a moment */
} spinlock_t;
void spin_take(spinlock_t *lock);
void spin_give(spinlock_t *lock);
void mutex_lock(struct mutex *lock);
static inline void mutex_init(struct mutex *lock)
{
	lock->held = false;
}
static inline bool mutex_trylock(struct mutex *lock)
{
	return !lock->held && (lock->held = true);
}
static inline void mutex_unlock(struct mutex *lock)
{
	lock->held = false;
}
static inline bool spin_try(spinlock_t *lock)
{
	return !lock->held && !lock->lent && (spin_take(lock), true);
}
#define spin_lock_init(lock) ((lock)->held = (lock)->lent = false)
#define spin_lock_irq(lock) spin_take(lock)
#define spin_unlock_irq(lock) spin_give(lock)
#define spin_lock_irqsave(lock, flags) ((flags) = 0, spin_take(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_give(lock))
#define spin_trylock_irqsave(lock, flags) ((flags) = 0, spin_try(lock))
#define lockdep_assert_held(lock) ((void)WARN_ON_ONCE(!(lock)->held))
#define DEFINE_MUTEX(name) struct mutex name

/* Memory. */
struct page {
	struct list_head lru;
	bool movable, offline; /* as in the balloon's list */
	unsigned long private;
};
struct balloon_dev_info;
enum migrate_mode { MIGRATE_SYNC };
#define MIGRATEPAGE_SUCCESS 0
struct balloon_dev_info {
	unsigned long isolated_pages;
	spinlock_t pages_lock;
	struct list_head pages;
	int (*migratepage)(struct balloon_dev_info *, struct page *, struct page *,
			   enum migrate_mode);
};
unsigned long page_to_pfn(const struct page *page);
struct page *balloon_page_alloc(void);
void put_page(struct page *page);
size_t balloon_page_list_enqueue(struct balloon_dev_info *info, struct list_head *pages);
size_t balloon_page_list_dequeue(struct balloon_dev_info *info, struct list_head *pages,
				 size_t most);
#define balloon_page_push(list, page) list_add(&(page)->lru, list)
static inline struct page *balloon_page_pop(struct list_head *pages)
{
	struct page *page = list_first_entry_or_null(pages, struct page, lru);

	if (page)
		list_del(&page->lru);
	return page;
}
void balloon_page_insert(struct balloon_dev_info *info, struct page *page);
#define __ClearPageMovable(page) ((page)->movable = false)
#define set_page_private(page, value) ((page)->private = (value))
#define __ClearPageOffline(page) ((page)->offline = false)
#define get_page(page) ((void)(page))
unsigned int page_zone(const struct page *page);
void adjust_managed_page_count(const struct page *page, long count);
#define __count_vm_event(event) ((void)0)
static inline void balloon_devinfo_init(struct balloon_dev_info *info)
{
	memset(info, 0, sizeof(*info));
	INIT_LIST_HEAD(&info->pages);
}
#define kzalloc(size, gfp) calloc(1, size)
#define kcalloc(count, size, gfp) calloc(count, size)
#define kfree(at) free(at)
#define __get_free_page(gfp) \
	(may_wait("takes memory where it may not"), \
	 (unsigned long)aligned_alloc(PAGE_SIZE, PAGE_SIZE))
#define free_page(at) free((void *)(at))
#define want_init_on_free() false
#define page_poisoning_enabled_static() false

/* Work. */
struct work_struct {
	void (*does)(struct work_struct *);
	bool due, later;
};
struct delayed_work {
	struct work_struct work;
};
struct workqueue_struct {
	int unused;
};
#define WQ_MEM_RECLAIM 0
#define WQ_UNBOUND 0
#define WQ_FREEZABLE 4
struct workqueue_struct *alloc_workqueue(const char *name, int flags, int most);
void queue_work(struct workqueue_struct *queue, struct work_struct *work);
void mod_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
		      unsigned long delay);
void cancel_work_sync(struct work_struct *work);
void queue_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
			unsigned long delay);
#define cancel_delayed_work_sync(delayed) cancel_work_sync(&(delayed)->work)
void destroy_workqueue(struct workqueue_struct *queue);
#define INIT_WORK(at, fn) ((at)->does = (fn), (at)->due = (at)->later = false)
#define INIT_DELAYED_WORK(at, fn) INIT_WORK(&(at)->work, fn)
#define to_delayed_work(at) container_of(at, struct delayed_work, work)
#define msecs_to_jiffies(ms) (ms)
struct reclaim_state {
	unsigned long reclaimed_slab;
};
struct task_struct {
	struct reclaim_state *reclaim_state;
};
extern struct task_struct *current;
void msleep(unsigned int ms);
typedef struct {
	int unused;
} wait_queue_head_t;
#define init_waitqueue_head(at) ((void)(at))
void wake_up(wait_queue_head_t *at);
/* The other side goes on only while somebody waits for it. */
void device_turn(long timeout);
#define HZ 250
#define MAX_SCHEDULE_TIMEOUT LONG_MAX
#define wait_event_timeout(at, condition, timeout) (device_turn(timeout), (condition))

/* Reclaim. */
#define SHRINK_STOP (~0UL)
#define DEFAULT_SEEKS 2
struct shrink_control {
	unsigned long nr_to_scan, nr_scanned;
};
struct shrinker {
	unsigned long (*count_objects)(struct shrinker *, struct shrink_control *);
	unsigned long (*scan_objects)(struct shrinker *, struct shrink_control *);
	int seeks;
};
int register_shrinker(struct shrinker *shrinker, const char *name);
void unregister_shrinker(struct shrinker *shrinker);
#define NOTIFY_OK 1
struct notifier_block {
	int (*notifier_call)(struct notifier_block *, unsigned long, void *);
};
int register_oom_notifier(struct notifier_block *block);
void unregister_oom_notifier(struct notifier_block *block);
struct scatterlist {
	void *at;
	unsigned int bytes;
};
struct page_reporting_dev_info {
	int unused;
};

/* The device. */
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_DEV_ANY_ID 0xffffffff
#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_BALLOON_PFN_SHIFT 12
enum {
	VIRTIO_BALLOON_F_MUST_TELL_HOST = 0,
	VIRTIO_BALLOON_F_STATS_VQ = 1,
	VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2,
	VIRTIO_BALLOON_F_FREE_PAGE_HINT = 3,
	VIRTIO_BALLOON_F_PAGE_POISON = 4,
	VIRTIO_BALLOON_F_REPORTING = 5,
};
struct virtio_balloon_config {
	__le32 num_pages, actual, free_page_hint_cmd_id, poison_val;
};
struct device {
	int unused;
};
struct dentry;
struct virtio_device;
struct virtio_config_ops {
	void (*get)(void);
	u64 (*get_features)(struct virtio_device *);
	void (*del_vqs)(struct virtio_device *);
};
struct virtio_device {
	struct device dev;
	u64 offered, features; /* by the host; of these the driver knows */
	struct virtio_balloon_config space;
	bool turned;
	const struct virtio_config_ops *config;
	void *priv;
};
struct virtqueue {
	struct virtio_device *vdev;
	void (*called)(struct virtqueue *);
	void *buffer; /* one at a time is enough for this driver */
	unsigned int bytes;
	bool kicked, used;
};
typedef void vq_callback_t(struct virtqueue *);
int virtio_find_vqs(struct virtio_device *vdev, unsigned int n, struct virtqueue *vqs[],
		    vq_callback_t *callbacks[], const char *const names[], void *unused);
int virtqueue_add_outbuf(struct virtqueue *vq, struct scatterlist *sg, unsigned int n, void *data,
			 gfp_t gfp);
void virtqueue_kick(struct virtqueue *vq);
void *virtqueue_get_buf(struct virtqueue *vq, unsigned int *bytes);
void virtio_reset_device(struct virtio_device *vdev);
bool virtqueue_is_broken(const struct virtqueue *vq);
#define virtio_device_ready(vdev) ((void)(vdev))
#define sg_init_one(sg, from, size) ((sg)->at = (from), (sg)->bytes = (size))
#define virtio_has_feature(vdev, bit) (((vdev)->features >> (bit)) & 1)
#define __virtio_clear_bit(vdev, bit) ((vdev)->features &= ~(1ULL << (bit)))
#define virtio_cread_le(vdev, type, field, to) (*(to) = (vdev)->space.field)
#define virtio_cwrite_le(vdev, type, field, from) ((vdev)->space.field = *(from))
#define dev_err(dev, ...) complain("the driver fails", 0)

/* The module. */
struct kernel_param {
	int unused;
};
struct kernel_param_ops {
	int (*set)(const char *, const struct kernel_param *);
	int (*get)(char *, const struct kernel_param *);
};
struct virtio_device_id {
	u32 device, vendor;
};
struct virtio_driver {
	const unsigned int *feature_table;
	unsigned int feature_table_size;
	struct {
		const char *name;
		void *owner;
	} driver;
	const struct virtio_device_id *id_table;
	int (*validate)(struct virtio_device *);
	int (*probe)(struct virtio_device *);
	void (*remove)(struct virtio_device *);
	void (*config_changed)(struct virtio_device *);
	int (*freeze)(struct virtio_device *);
	int (*restore)(struct virtio_device *);
};
#define THIS_MODULE NULL
#define module_param(name, type, mode)
#define module_param_cb(name, ops, at, mode) \
	const struct kernel_param_ops *const param_##name = (ops)
#define module_virtio_driver(one) struct virtio_driver *const the_driver = &(one)
#define MODULE_PARM_DESC(name, text)
#define MODULE_DEVICE_TABLE(bus, table)
#define MODULE_DESCRIPTION(text)
#define MODULE_LICENSE(text)
#define sysfs_match_string(names, text) ((void)(names), (void)(text), -EINVAL)
#define sysfs_emit sprintf

#endif
