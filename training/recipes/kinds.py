"""The system lines that name a kind of dialogue: a conversation without one is small talk.

Any of the lines of a kind selects it; a model follows no other system prompt.
"""

from __future__ import annotations

# What chat programs send by themselves asks for nothing more than a talk.
SMALL_TALK = (
    "You are a helpful assistant.",
    "You are a friendly chat partner.",
    "Have a chat.",
)
TOPICS = ("Talk about a topic: sports, films, music, books, animals, politics.",)
BOOKING = (
    "You help with bookings: restaurants, hotels, flights, rides, events, doctors, music, weather.",
    "You are an assistant for bookings.",
)
WIZARD = (
    "You help with a task: bank, doctor, hotel, apartment, party, trip, spaceship.",
    "You are an assistant for tasks.",
)
COFFEE = ("You take orders in a coffee bar.",)
MEDICAL = ("You answer questions about diseases.",)
UBUNTU = ("You help users of Ubuntu Linux.",)
SPACEFLIGHT = ("You are the crew of a spacecraft and talk to the ground.",)
COURT = ("You argue a case before the Supreme Court.",)
