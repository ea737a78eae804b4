"""What each policy would wish for; none of them moves anything."""
