"""A Django application of one model, in which a block of docs/publishers/frameworks.md runs: with a planned `trip` and `refresh` at hand.

    python django_trips.py BLOCK [--roll-back]
"""

import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings

database = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "PASSWORD": database.password,
            "NAME": database.path[1:],
        }
    }
)
django.setup()

from django.db import connection, models, transaction  # noqa: E402  Django wants its settings first


class Trip(models.Model):
    status = models.TextField(default="planned")
    user_id = models.BigIntegerField()

    class Meta:
        app_label = "snippets"


def refresh_of_the_docs():
    page = Path(__file__).parents[4] / "docs" / "publishers" / "README.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names = {}
    exec(block, names)
    return names["refresh"]


def main(block, roll_back):
    if Trip._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as schema:
            schema.create_model(Trip)
    trip = Trip.objects.create(user_id=42)
    names = {"trip": trip, "refresh": refresh_of_the_docs()}
    if roll_back:
        with transaction.atomic():
            exec(block, names)
            transaction.set_rollback(True)
    else:
        exec(block, names)
    trip.refresh_from_db()
    print(f"the trip is {trip.status}")


main(Path(sys.argv[1]).read_text(), roll_back="--roll-back" in sys.argv)
