"""The families that only Inkeep has."""

from exporter.model.families import counter

ESCALATIONS = counter(
    "chatbot_inkeep_escalations_total",
    100,
    "Inkeep escalations by kind.",
    "channel",
    "kind",
    folded=("kind",),
    meaning="kind = properties.escalationType; a thumbs-down alone is one, of kind downvote",
)
CONVERSATION_USER_MESSAGES = counter(
    "chatbot_inkeep_conversation_user_messages_total",
    60,
    "User messages of Inkeep conversations, attributed to the start of the conversation.",
    "channel",
    meaning="Grows after its bucket has closed; for traffic without widget events",
)
