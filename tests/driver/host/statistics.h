/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a kernel counts of its memory, for kernel.h: as much of it as the balloon driver's stats.c
 * tells a host.
 */
#ifndef STATISTICS_H
#define STATISTICS_H

#define CONFIG_VM_EVENT_COUNTERS 1
#define CONFIG_HUGETLB_PAGE 1

enum { ZONE_DMA, ZONE_NORMAL, MAX_NR_ZONES };
enum {
	PSWPIN, PSWPOUT, PGFAULT, PGMAJFAULT, HTLB_BUDDY_PGALLOC, HTLB_BUDDY_PGALLOC_FAIL,
	OOM_KILL, PGSCAN_KSWAPD, PGSCAN_DIRECT, PGSTEAL_KSWAPD, PGSTEAL_DIRECT, ALLOCSTALL_DMA,
	ALLOCSTALL_NORMAL, NR_VM_EVENT_ITEMS
};
#define NR_FILE_PAGES 0

struct sysinfo {
	unsigned long totalram, freeram;
};
#define all_vm_events(events) memset(events, 0, NR_VM_EVENT_ITEMS * sizeof(*(events)))
#define si_meminfo(info) ((info)->totalram = 131072, (info)->freeram = 4096)
#define global_node_page_state(item) 0UL
extern long available; /* pages that could be taken without swapping */
#define si_mem_available() available
#define totalram_pages() 131072UL

/* Tags, each its own number. */
#define VIRTIO_BALLOON_S_SWAP_IN 0
#define VIRTIO_BALLOON_S_SWAP_OUT 1
#define VIRTIO_BALLOON_S_MAJFLT 2
#define VIRTIO_BALLOON_S_MINFLT 3
#define VIRTIO_BALLOON_S_MEMFREE 4
#define VIRTIO_BALLOON_S_MEMTOT 5
#define VIRTIO_BALLOON_S_AVAIL 6
#define VIRTIO_BALLOON_S_CACHES 7
#define VIRTIO_BALLOON_S_HTLB_PGALLOC 8
#define VIRTIO_BALLOON_S_HTLB_PGFAIL 9
#define VIRTIO_BALLOON_S_OOM_KILL 10
#define VIRTIO_BALLOON_S_ALLOC_STALL 11
#define VIRTIO_BALLOON_S_ASYNC_SCAN 12
#define VIRTIO_BALLOON_S_DIRECT_SCAN 13
#define VIRTIO_BALLOON_S_ASYNC_RECLAIM 14
#define VIRTIO_BALLOON_S_DIRECT_RECLAIM 15
#define TAGS 16

struct virtio_balloon_stat {
	u16 tag;
	u64 val;
} __attribute__((packed));

#endif
