// SPDX-License-Identifier: GPL-2.0
/*
 * Pages in and out of the balloon, and what the host is told of them.
 *
 * The host's order of events must be ours: a page that reclaim took back and that we then inflate
 * again must be told as deflated before it is told as inflated. So whoever inflates has its pages
 * first, then tells what is untold, and only then tells of its pages; what is freed later is told
 * later.
 */
#include "balloon.h"
#include "compat.h"

#include <linux/virtio_config.h>
#include <linux/vmstat.h>

static void put_pieces(const struct balloon *b, __virtio32 *to, const struct page *page)
{
	unsigned long pfn = page_to_pfn(page) << (PAGE_SHIFT - VIRTIO_BALLOON_PFN_SHIFT);
	unsigned int i;

	for (i = 0; i < PIECES_PER_PAGE; i++)
		to[i] = cpu_to_virtio32(b->vdev, (u32)(pfn + i));
}

/*
 * Kick, and wait until the host has used what was put into the empty queue; false if it never will.
 * For a shutdown the kernel breaks the queues, resets the device and wakes nobody.
 */
bool balloon_await(struct balloon *b, struct virtqueue *vq)
{
	unsigned int unused;
	bool used = false;

	virtqueue_kick(vq);
	while (!wait_event_timeout(b->acked,
				   (used = virtqueue_get_buf(vq, &unused)) ||
				   virtqueue_is_broken(vq), HZ))
		;
	return used;
}

/*
 * Hand page numbers to the host and wait until it has taken them, or is gone. The caller holds
 * wire.
 */
static void exchange(struct balloon *b, struct virtqueue *vq, __virtio32 *pfns, unsigned int pieces)
{
	struct scatterlist sg;
	unsigned int n;

	lockdep_assert_held(&b->wire);
	for (; pieces; pfns += n, pieces -= n) {
		n = min(pieces, MOST_PIECES);
		sg_init_one(&sg, pfns, n * sizeof(*pfns));
		if (virtqueue_add_outbuf(vq, &sg, 1, b, GFP_KERNEL)) {
			/* The queue is empty, and one entry needs no memory: the device is gone. */
			WARN_ON_ONCE(!virtqueue_is_broken(vq));
			return;
		}
		balloon_await(b, vq);
	}
}

/* Without bit 2 what is in the balloon is no memory of the guest any more; with it, used memory. */
static bool counts_as_used(const struct balloon *b)
{
	return virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
}

static void release_pages_of(struct balloon *b, struct list_head *pages)
{
	struct page *page;

	while ((page = balloon_page_pop(pages))) {
		if (!counts_as_used(b))
			adjust_managed_page_count(page, 1);
		put_page(page);
	}
}

/*
 * The size that the host sees, in pieces (virtio: `actual`): what the balloon holds. Pages on their
 * way into it count when the host has heard of them, those that were freed first no more, told or
 * not. A device that is gone, or was reset for a shutdown, hears no more. The caller holds wire.
 */
static void show_actual(struct balloon *b)
{
	u32 actual;

	if (virtqueue_is_broken(b->inflate_vq))
		return;
	spin_lock_irq(&b->books);
	actual = (u32)(b->held * PIECES_PER_PAGE);
	spin_unlock_irq(&b->books);
	virtio_cwrite_le(b->vdev, struct virtio_balloon_config, actual, &actual);
}

/* Tell the host of pages that were freed first, as many as one message holds; whether any were. */
static bool tell_oldest(struct balloon *b)
{
	struct notice *notice;

	spin_lock_irq(&b->books);
	notice = list_first_entry_or_null(&b->untold, struct notice, list);
	if (notice)
		list_del(&notice->list);
	spin_unlock_irq(&b->books);
	if (!notice)
		return false;
	exchange(b, b->deflate_vq, notice->pfns, notice->pieces);
	balloon_put_aside(b, notice);
	return true;
}

/* Tell the host of all of them. The caller holds wire. */
static void tell_untold(struct balloon *b)
{
	while (tell_oldest(b))
		;
}

void balloon_tell(struct work_struct *work)
{
	struct balloon *b = container_of(work, struct balloon, tell);
	unsigned int messages = 0;

	mutex_lock(&b->wire);
	while (messages < TURN_EXCHANGES && tell_oldest(b))
		messages++;
	if (messages == TURN_EXCHANGES)
		queue_work(b->workers, &b->tell);
	show_actual(b);
	mutex_unlock(&b->wire);
	balloon_trim_notices(b);
}

/*
 * Of `pages` pages for which the balloon has been reaching, how many may still go into it; they
 * count from here on. Meanwhile the host may have decided anew, and reclaim taken something back:
 * that is not put in again by what is on its way. The caller holds wire.
 */
static unsigned long enter(struct balloon *b, unsigned long pages)
{
	unsigned long most = balloon_target(b);

	spin_lock_irq(&b->books);
	most = min(most, b->cap);
	pages = min(pages, most > b->held ? most - b->held : 0);
	b->held += pages;
	b->counters.inflated += pages;
	spin_unlock_irq(&b->books);
	return pages;
}

/* Up to CHUNK_PAGES pages into the balloon; how many. */
unsigned long balloon_inflate(struct balloon *b, unsigned long pages)
{
	LIST_HEAD(got);
	unsigned long n = 0, most;
	struct page *page;

	/*
	 * Nothing more for a device that is gone or was reset for a shutdown. What was on its way
	 * stays in the balloon: until the reset the host may still take it.
	 */
	if (virtqueue_is_broken(b->inflate_vq))
		return 0;
	pages = min_t(unsigned long, pages, CHUNK_PAGES);
	if (!balloon_set_aside(b, pages)) {
		b->counters.puffed++;
		return 0;
	}
	while (n < pages) {
		page = balloon_page_alloc();
		if (!page) {
			b->counters.puffed++;
			break;
		}
		balloon_page_push(&got, page);
		n++;
	}

	mutex_lock(&b->wire);
	tell_untold(b);
	for (most = enter(b, n); n > most; n--)
		put_page(balloon_page_pop(&got));
	if (n) {
		n = 0;
		list_for_each_entry(page, &got, lru) {
			put_pieces(b, b->chunk + n * PIECES_PER_PAGE, page);
			if (!counts_as_used(b))
				adjust_managed_page_count(page, -1);
			n++;
		}
		exchange(b, b->inflate_vq, b->chunk, n * PIECES_PER_PAGE);
		balloon_page_list_enqueue(&b->info, &got);
		show_actual(b);
	}
	mutex_unlock(&b->wire);
	return n;
}

/* What the guest took by itself stays taken until the host decides anew. The caller holds books. */
static void stay_taken(struct balloon *b, enum asker who)
{
	if (who != BY_HOST)
		b->cap = min(b->cap, b->held);
}

/* Up to CHUNK_PAGES pages out of the balloon, told before they are freed; how many. */
unsigned long balloon_deflate(struct balloon *b, unsigned long pages, enum asker who)
{
	LIST_HEAD(got);
	unsigned long n = 0;
	struct page *page;

	/* Who has wire may want memory too: he is not waited for where the last is gone. */
	if (who == BY_HOST)
		mutex_lock(&b->wire);
	else if (!mutex_trylock(&b->wire))
		return 0;
	tell_untold(b);
	balloon_page_list_dequeue(&b->info, &got, min_t(unsigned long, pages, CHUNK_PAGES));
	list_for_each_entry(page, &got, lru)
		put_pieces(b, b->chunk + n++ * PIECES_PER_PAGE, page);
	if (n)
		exchange(b, b->deflate_vq, b->chunk, n * PIECES_PER_PAGE);
	spin_lock_irq(&b->books);
	b->held -= n;
	b->counters.deflated += n;
	if (n)
		stay_taken(b, who);
	spin_unlock_irq(&b->books);
	release_pages_of(b, &got);
	show_actual(b);
	mutex_unlock(&b->wire);
	balloon_trim_notices(b);
	return n;
}

/*
 * Free up to `pages` pages now, but none of the last `keep`, and leave the telling to a work item;
 * how many. It never sleeps, and allocates nothing. Reclaim goes away when it finds the books open,
 * but not once it has begun: the work item that tells of the first pages opens them on another
 * processor, and for a moment only, as everybody does.
 */
unsigned long balloon_free_first(struct balloon *b, unsigned long pages, unsigned long keep,
				 enum asker who)
{
	unsigned long freed = 0;

	while (freed < pages) {
		unsigned long flags, want, room, got;
		struct notice *notice;
		struct page *page;
		LIST_HEAD(list);

		if (who != BY_RECLAIM || freed) {
			spin_lock_irqsave(&b->books, flags);
		} else if (!spin_trylock_irqsave(&b->books, flags)) {
			atomic64_inc(&b->counters.busy);
			break;
		}
		notice = NULL;
		if (!list_empty(&b->untold))
			notice = list_last_entry(&b->untold, struct notice, list);
		if (!notice || notice->pieces + PIECES_PER_PAGE > NOTICE_PIECES)
			notice = list_first_entry_or_null(&b->notices, struct notice, list);
		if (!notice || b->held <= keep) {
			spin_unlock_irqrestore(&b->books, flags);
			break;
		}
		want = min(pages - freed, b->held - keep);
		want = min_t(unsigned long, want, CHUNK_PAGES);
		room = (NOTICE_PIECES - notice->pieces) / PIECES_PER_PAGE;
		want = min(want, room);
		/* Others hold the list's own lock without the books, for a chunk at most. */
		balloon_page_list_dequeue(&b->info, &list, want);
		/* One without a page stays: nothing tells of it, and compaction would wait. */
		if (!list_empty(&list) && !notice->pieces) {
			list_move_tail(&notice->list, &b->untold);
			b->notices_free--;
		}
		got = 0;
		list_for_each_entry(page, &list, lru) {
			put_pieces(b, notice->pfns + notice->pieces, page);
			notice->pieces += PIECES_PER_PAGE;
			got++;
		}
		b->held -= got;
		b->counters.told_late += got;
		if (got)
			stay_taken(b, who);
		if (got && !b->leaving)
			queue_work(b->workers, &b->tell);
		spin_unlock_irqrestore(&b->books, flags);
		release_pages_of(b, &list);
		freed += got;
		if (got < want)
			break; /* the rest is being moved, or there is none */
	}
	return freed;
}

#ifdef CONFIG_BALLOON_COMPACTION
/*
 * Compaction wants `from` to be somewhere else: `to` takes its place in the balloon. As in Linux's
 * own driver it waits, in every mode, for the host to have heard of both, and for no more: it goes
 * away when somebody else is talking to the host, or when something is untold, among which `to` may
 * be.
 */
int balloon_move_page(struct balloon_dev_info *info, struct page *to, struct page *from,
		      enum migrate_mode mode)
{
	struct balloon *b = container_of(info, struct balloon, info);
	unsigned long flags;
	bool must_wait;

	if (!mutex_trylock(&b->wire))
		return -EAGAIN;
	spin_lock_irq(&b->books);
	must_wait = !list_empty(&b->untold);
	spin_unlock_irq(&b->books);
	if (must_wait) {
		mutex_unlock(&b->wire);
		return -EAGAIN;
	}
	if (!counts_as_used(b) && page_zone(from) != page_zone(to)) {
		adjust_managed_page_count(from, 1);
		adjust_managed_page_count(to, -1);
	}
	get_page(to); /* the balloon's reference */
	put_pieces(b, b->chunk, to);
	exchange(b, b->inflate_vq, b->chunk, PIECES_PER_PAGE);
	spin_lock_irqsave(&info->pages_lock, flags);
	balloon_page_insert(info, to);
	info->isolated_pages--;
	__count_vm_event(BALLOON_MIGRATE);
	b->counters.moved++;
	spin_unlock_irqrestore(&info->pages_lock, flags);
	put_pieces(b, b->chunk, from);
	exchange(b, b->deflate_vq, b->chunk, PIECES_PER_PAGE);
	mutex_unlock(&b->wire);
	compat_page_leaves(from);
	put_page(from);
	return MIGRATEPAGE_SUCCESS;
}
#endif
