"""The pictures of counting are what a ledger does with their stories."""

import pytest

from scripts.counting_pictures import FOLDER, STORIES, Story, counted, drawn


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_picture_of_counting_is_current(story: Story) -> None:
    assert (FOLDER / f"{story.name}.svg").read_text("utf-8") == drawn(story)


def test_the_stories_show_what_their_titles_say() -> None:
    late, retraction, write_off = map(counted, STORIES)

    assert [each.counter for each in late] == [each.vendor for each in late]
    assert late[-1].counter == 104 + 97 + 60 + 9 - 130
    assert any(each.counter > each.vendor for each in retraction)
    assert retraction[-1].counter == retraction[-1].vendor
    assert write_off[-1].counter > write_off[-1].vendor
    assert write_off[-1].counter > max(each.counter for each in write_off[:-1])
