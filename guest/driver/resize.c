// SPDX-License-Identifier: GPL-2.0
/*
 * Following the host's target.
 *
 * num_pages is what the host wishes the balloon to be. What the guest took back by itself since the
 * host last said so is not inflated again: a cap stands until the next configuration change, which
 * is a new decision; one about hints would be none, but these are not negotiated.
 */
#include "balloon.h"

#include <linux/virtio_config.h>

#define RETRY_FIRST_MS 200U
#define RETRY_LAST_MS 5000U

/* What the host wishes the balloon to be now, in pages. It is asked, which may take a while. */
unsigned long balloon_target(struct balloon *b)
{
	u32 pieces;

	virtio_cread_le(b->vdev, struct virtio_balloon_config, num_pages, &pieces);
	return pieces / PIECES_PER_PAGE;
}

/*
 * What the balloon holds and what it should hold, of one moment: or what reclaim takes between the
 * two looks like a smaller target, and is given back a second time.
 */
static void look(struct balloon *b, unsigned long *held, unsigned long *want)
{
	unsigned long target = balloon_target(b);

	spin_lock_irq(&b->books);
	*held = b->held;
	*want = min(target, b->cap);
	spin_unlock_irq(&b->books);
}

/* What reclaim asked for while nothing may be freed before the host knows (MUST_TELL_HOST). */
static void pay_owed(struct balloon *b)
{
	unsigned long left, owed;

	spin_lock_irq(&b->books);
	left = min(b->cap, b->held); /* what it asked for before may be on its way */
	owed = min(b->owed, left);
	b->owed = 0;
	if (owed)
		b->cap = left - owed;
	spin_unlock_irq(&b->books);
}

/*
 * Up to CHUNK_PAGES pages back to the guest, because the host says so; how many. A guest that is
 * given memory wants it now: where the host may hear of it later, nothing here waits for it to take
 * one message after the other.
 */
static unsigned long give_back(struct balloon *b, unsigned long held, unsigned long want)
{
	if (b->must_tell)
		return balloon_deflate(b, held - want, BY_HOST);
	return balloon_free_first(b, min_t(unsigned long, held - want, CHUNK_PAGES), want,
				  BY_HOST);
}

/* Some way towards the target. The rest has a turn of its own: before a sleep one is waited for. */
void balloon_resize(struct work_struct *work)
{
	struct balloon *b = container_of(to_delayed_work(work), struct balloon, resize);
	unsigned long held, want, moved = 0;
	unsigned int chunks = 0, wait_ms = 0;

	WRITE_ONCE(b->inflater, current);
	do {
		pay_owed(b);
		look(b, &held, &want);
		if (held == want || READ_ONCE(b->leaving))
			break;
		moved = want > held ? balloon_inflate(b, want - held) : give_back(b, held, want);
		cond_resched();
	} while (moved && ++chunks < TURN_EXCHANGES);
	WRITE_ONCE(b->inflater, NULL);
	if (held == want || READ_ONCE(b->leaving)) {
		queue_work(b->workers, &b->tell); /* after a reset the host hears the size */
		return;
	}
	spin_lock_irq(&b->books);
	if (chunks)
		b->retry_ms = RETRY_FIRST_MS;
	if (!moved) {
		/* The guest cannot give it now. Ask again later, and ever less often. */
		wait_ms = b->retry_ms;
		b->retry_ms = min(2 * wait_ms, RETRY_LAST_MS);
	}
	spin_unlock_irq(&b->books);
	queue_delayed_work(b->workers, &b->resize, msecs_to_jiffies(wait_ms));
}

/* The host has decided anew. Called in any context. */
void balloon_retarget(struct balloon *b)
{
	unsigned long flags;

	spin_lock_irqsave(&b->books, flags);
	b->cap = NO_CAP;
	b->owed = 0; /* had it been paid at once, this decision would have come after it */
	if (!b->leaving) {
		b->retry_ms = RETRY_FIRST_MS;
		mod_delayed_work(b->workers, &b->resize, 0);
	}
	spin_unlock_irqrestore(&b->books, flags);
}
