// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics for the host: one buffer goes to and fro; the host gives it back when it wants a new
 * reading.
 */
#include "balloon.h"

#include <linux/swap.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>

/* More than any kernel has tags; what this kernel's header does not name is not sent. */
#define MOST_STATS 16

static unsigned int put(struct balloon *b, unsigned int n, u16 tag, u64 value)
{
	if (WARN_ON_ONCE(n >= MOST_STATS))
		return n;
	b->stats[n].tag = cpu_to_virtio16(b->vdev, tag);
	b->stats[n].val = cpu_to_virtio64(b->vdev, value);
	return n + 1;
}

static u64 in_bytes(unsigned long pages)
{
	return (u64)pages << PAGE_SHIFT;
}

#if defined(CONFIG_VM_EVENT_COUNTERS) && defined(VIRTIO_BALLOON_S_OOM_KILL)
/* An event that is counted zone by zone; its first zone stands in `first`. */
static u64 zones(const unsigned long *events, unsigned int first)
{
	u64 sum = 0;
	unsigned int zone;

	for (zone = 0; zone < MAX_NR_ZONES; zone++)
		sum += events[first + zone];
	return sum;
}
#endif

static unsigned int fill(struct balloon *b)
{
	unsigned long events[NR_VM_EVENT_ITEMS];
	struct sysinfo info;
	unsigned long caches;
	unsigned int n = 0;

	all_vm_events(events); /* fills in nothing where the kernel does not count them */
	si_meminfo(&info);
	caches = global_node_page_state(NR_FILE_PAGES);

#ifdef CONFIG_VM_EVENT_COUNTERS
	n = put(b, n, VIRTIO_BALLOON_S_SWAP_IN, in_bytes(events[PSWPIN]));
	n = put(b, n, VIRTIO_BALLOON_S_SWAP_OUT, in_bytes(events[PSWPOUT]));
	n = put(b, n, VIRTIO_BALLOON_S_MAJFLT, events[PGMAJFAULT]);
	n = put(b, n, VIRTIO_BALLOON_S_MINFLT, events[PGFAULT]);
#ifdef CONFIG_HUGETLB_PAGE
	n = put(b, n, VIRTIO_BALLOON_S_HTLB_PGALLOC, events[HTLB_BUDDY_PGALLOC]);
	n = put(b, n, VIRTIO_BALLOON_S_HTLB_PGFAIL, events[HTLB_BUDDY_PGALLOC_FAIL]);
#endif
#ifdef VIRTIO_BALLOON_S_OOM_KILL
	n = put(b, n, VIRTIO_BALLOON_S_OOM_KILL, events[OOM_KILL]);
	/* ALLOCSTALL is counted zone by zone; DMA stands first where it exists. */
	n = put(b, n, VIRTIO_BALLOON_S_ALLOC_STALL, zones(events, ALLOCSTALL_NORMAL - ZONE_NORMAL));
	n = put(b, n, VIRTIO_BALLOON_S_ASYNC_SCAN, in_bytes(events[PGSCAN_KSWAPD]));
	n = put(b, n, VIRTIO_BALLOON_S_DIRECT_SCAN, in_bytes(events[PGSCAN_DIRECT]));
	n = put(b, n, VIRTIO_BALLOON_S_ASYNC_RECLAIM, in_bytes(events[PGSTEAL_KSWAPD]));
	n = put(b, n, VIRTIO_BALLOON_S_DIRECT_RECLAIM, in_bytes(events[PGSTEAL_DIRECT]));
#endif
#endif
	n = put(b, n, VIRTIO_BALLOON_S_MEMFREE, in_bytes(info.freeram));
	n = put(b, n, VIRTIO_BALLOON_S_MEMTOT, in_bytes(info.totalram));
	n = put(b, n, VIRTIO_BALLOON_S_AVAIL, in_bytes((unsigned long)max(si_mem_available(), 0L)));
	n = put(b, n, VIRTIO_BALLOON_S_CACHES, in_bytes(caches));
	return n;
}

static void send(struct balloon *b)
{
	struct scatterlist sg;

	sg_init_one(&sg, b->stats, fill(b) * sizeof(*b->stats));
	if (virtqueue_add_outbuf(b->stats_vq, &sg, 1, b, GFP_KERNEL) == 0)
		virtqueue_kick(b->stats_vq);
}

void balloon_stats_work(struct work_struct *work)
{
	struct balloon *b = container_of(work, struct balloon, stats_work);
	unsigned int unused;

	if (virtqueue_get_buf(b->stats_vq, &unused))
		send(b);
}

void balloon_stats_answered(struct virtqueue *vq)
{
	struct balloon *b = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&b->books, flags);
	if (!b->leaving)
		queue_work(b->workers, &b->stats_work);
	spin_unlock_irqrestore(&b->books, flags);
}

/* The first buffer goes without being asked for. */
int balloon_stats_start(struct balloon *b)
{
	if (!b->stats_vq)
		return 0;
	if (!b->stats)
		b->stats = kcalloc(MOST_STATS, sizeof(*b->stats), GFP_KERNEL);
	if (!b->stats)
		return -ENOMEM;
	send(b);
	return 0;
}
