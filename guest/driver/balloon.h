/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio balloon driver that deflates when its own guest runs short.
 *
 * Written from the virtio specification (Traditional Memory Balloon Device) and the kernel's API
 * documentation.
 *
 *   main.c      finding the device, leaving it, sleep
 *   resize.c    following the host's target, in a work item
 *   pages.c     pages in and out of the balloon, and what the host is told of them
 *   notices.c   room for what it will be told later
 *   shrink.c    giving pages back when reclaim asks, and before a process is killed
 *   pressure.c  whether reclaim is in trouble
 *   stats.c     statistics for the host
 *   report.c    free page reporting
 *   counters.c  what happened, in debugfs
 *
 * Two locks. `wire` (a mutex) owns the inflate and deflate queues; its holder may wait for the
 * host. `books` (a spinlock) owns the counts and the notices; whoever holds it never sleeps. wire
 * is taken before books, and books before the lock of the kernel's list of pages.
 */
#ifndef AUTOBALLOON_BALLOON_H
#define AUTOBALLOON_BALLOON_H

#include <linux/atomic.h>
#include <linux/balloon_compaction.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/page_reporting.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/* The device counts in pages of 4 KiB, whatever the kernel's page size is. */
#define PIECES_PER_PAGE (1U << (PAGE_SHIFT - VIRTIO_BALLOON_PFN_SHIFT))

/* Kernel pages that are inflated, or deflated by the worker, in one exchange with the host. */
#define CHUNK_PAGES 256U

/*
 * Numbers of pages in one buffer. Linux's own driver never gives more, and there are hosts that
 * take no more: Firecracker gives a larger one back unread. An exchange may have several buffers,
 * one after the other: as many as Linux's own driver would need.
 */
#define MOST_PIECES 256U

/* In one turn of a work item, for whose end the kernel waits before a sleep. */
#define TURN_EXCHANGES 16U

#define NO_CAP ULONG_MAX

enum when { DEFLATE_OFF, DEFLATE_SHRINKER, DEFLATE_PRESSURE };

/* Who asks for pages of the balloon. */
enum asker { BY_RECLAIM, BY_OOM, BY_HOST };

/* One page that holds the numbers of pages of which the host must still be told. */
struct notice {
	struct list_head list;
	unsigned int pieces; /* filled: some in those that are untold, none in those set aside */
	__virtio32 pfns[]; /* in the byte order of the device: the guest's own for a legacy one */
};

#define NOTICE_PIECES ((PAGE_SIZE - sizeof(struct notice)) / sizeof(__virtio32))
#define NOTICE_PAGES (NOTICE_PIECES / PIECES_PER_PAGE)

/* Calls of the scan function, as many as are remembered one by one. */
#define REMEMBERED 64U

struct counters {
	/* Reclaim asks on all processors at once, with no lock. */
	atomic64_t calls, asked, freed; /* of the shrinker's scan function, in kernel pages */
	atomic64_t counts; /* calls of the shrinker's count function */
	atomic64_t busy; /* calls that found a lock taken and gave up */
	atomic64_t calm; /* questions that were answered with nothing: it was not in trouble */
	atomic64_t own; /* calls out of our own allocation */
	/* Of the others each has one writer at a time. */
	u64 oom_calls, oom_freed;
	u64 inflated, puffed; /* pages, allocations that failed */
	u64 deflated; /* pages of which the host was told before they were freed */
	u64 told_late; /* pages that were freed first and told afterwards, whoever asked for them */
	u64 moved; /* by compaction */
	struct {
		unsigned long asked, freed;
	} last[REMEMBERED];
};

struct balloon {
	struct virtio_device *vdev;
	struct virtqueue *inflate_vq, *deflate_vq, *stats_vq, *report_vq;
	wait_queue_head_t acked;
	struct workqueue_struct *workers;

	struct mutex wire;
	__virtio32 *chunk; /* CHUNK_PAGES pages in pieces, for the holder of wire */

	spinlock_t books;
	struct balloon_dev_info info;
	unsigned long held; /* pages in the balloon, on their way into it, or being moved */
	unsigned long cap; /* no inflation beyond this until the host decides anew, or NO_CAP */
	unsigned long owed; /* the most that reclaim asked for at once, to be told first */
	unsigned long notices_free; /* notices in the list */
	struct list_head notices, untold;
	bool leaving;
	struct counters counters;

	struct delayed_work resize;
	unsigned int retry_ms;
	struct work_struct tell;
	struct task_struct *inflater; /* it may not deflate what it is inflating */

	enum when when;
	bool must_tell;
	struct shrinker *shrinker;
	struct notifier_block on_oom;

	struct work_struct stats_work;
	struct virtio_balloon_stat *stats;
	struct page_reporting_dev_info reporting;
	bool is_reporting;

	struct dentry *dir;
};

/* pages.c */
bool balloon_await(struct balloon *b, struct virtqueue *vq);
unsigned long balloon_inflate(struct balloon *b, unsigned long pages);
unsigned long balloon_deflate(struct balloon *b, unsigned long pages, enum asker who);
void balloon_tell(struct work_struct *work);
int balloon_move_page(struct balloon_dev_info *info, struct page *to, struct page *from,
		      enum migrate_mode mode);
unsigned long balloon_free_first(struct balloon *b, unsigned long pages, unsigned long keep,
				 enum asker who);

/* notices.c */
void balloon_put_aside(struct balloon *b, struct notice *notice);
bool balloon_set_aside(struct balloon *b, unsigned long more);
void balloon_trim_notices(struct balloon *b);
void balloon_drop_notices(struct balloon *b);

/* resize.c */
unsigned long balloon_target(struct balloon *b);
void balloon_resize(struct work_struct *work);
void balloon_retarget(struct balloon *b);

/* shrink.c */
unsigned long balloon_scan(struct balloon *b, unsigned long pages);
int balloon_shrink_start(struct balloon *b);
void balloon_shrink_stop(struct balloon *b);

/* pressure.c */
bool balloon_in_trouble(void);

/* stats.c */
int balloon_stats_start(struct balloon *b);
void balloon_stats_answered(struct virtqueue *vq);
void balloon_stats_work(struct work_struct *work);

/* report.c */
int balloon_report_start(struct balloon *b);
void balloon_report_stop(struct balloon *b);

/* counters.c */
void balloon_counters_start(struct balloon *b);
void balloon_counters_stop(struct balloon *b);

#endif
