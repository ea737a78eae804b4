// SPDX-License-Identifier: GPL-2.0
/*
 * Notices: pages for numbers of pages that are freed first and told later, set aside while the
 * balloon grows.
 */
#include "balloon.h"

/* An empty one, for what is freed next. */
void balloon_put_aside(struct balloon *b, struct notice *notice)
{
	notice->pieces = 0;
	spin_lock_irq(&b->books);
	list_add(&notice->list, &b->notices);
	b->notices_free++;
	spin_unlock_irq(&b->books);
}

/*
 * Until there is room in them for all that is held and `more` pages, beside one that the host is
 * just being told.
 */
bool balloon_set_aside(struct balloon *b, unsigned long more)
{
	for (;;) {
		struct notice *notice;
		bool enough;

		spin_lock_irq(&b->books);
		enough = b->notices_free * NOTICE_PAGES >= b->held + more + NOTICE_PAGES;
		spin_unlock_irq(&b->books);
		if (enough)
			return true;
		notice = (struct notice *)__get_free_page(GFP_KERNEL | __GFP_NORETRY |
							  __GFP_NOWARN);
		if (!notice)
			return false;
		balloon_put_aside(b, notice);
	}
}

/* Let go of notices beyond what the balloon may need. */
void balloon_trim_notices(struct balloon *b)
{
	struct notice *notice, *next;
	LIST_HEAD(spare);

	spin_lock_irq(&b->books);
	list_for_each_entry_safe(notice, next, &b->notices, list) {
		/* Enough for balloon_set_aside(), and one more: a page more costs none then. */
		if (b->notices_free <= 3 || (b->notices_free - 3) * NOTICE_PAGES < b->held)
			break;
		list_move(&notice->list, &spare);
		b->notices_free--;
	}
	spin_unlock_irq(&b->books);
	list_for_each_entry_safe(notice, next, &spare, list)
		free_page((unsigned long)notice);
}

void balloon_drop_notices(struct balloon *b)
{
	struct notice *notice, *next;

	list_for_each_entry_safe(notice, next, &b->notices, list)
		free_page((unsigned long)notice);
	INIT_LIST_HEAD(&b->notices);
	b->notices_free = 0;
}
