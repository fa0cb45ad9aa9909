"""What labels are called: names in people's languages, groups, ignored labels, phrases around them."""
