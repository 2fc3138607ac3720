"""The routes of `calibrate`: which selection, one question after another, then the result."""

from __future__ import annotations

from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from atlas.errors import ConfigError, DataError
from atlas.records import LabelType, Selection
from atlas.statistics.task_unit import task_of
from atlas.store.record_files import read_records
from atlas.terminal.visible_text import one_line
from atlas.viewing.web.calibrate import Calibration, draw_steps, measure_calibration
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.labels.answers import AnswerStore, Place
from atlas.viewing.web.library import Library
from atlas.viewing.web.marks import pairs_of
from atlas.viewing.web.pages.calibrate_page import (
    QuestionView,
    describe_choices,
    describe_context,
    describe_messages,
    describe_result,
)
from atlas.viewing.web.pages.label_forms import (
    Form,
    annotator_of,
    field,
    read_form,
    see_other,
    whole_number,
)
from atlas.viewing.web.pages.labeling_view import TYPE_NAMES
from atlas.viewing.web.sources import ShownRun

FormBody = Annotated[Form, Depends(read_form)]
MAX_SEED = 10**9


class Calibrations:
    """The calibrations of the selections that are shown; each is drawn once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._drawn: dict[tuple[str, str | None, int], Calibration] = {}
        self._lock = Lock()

    @property
    def selections(self) -> tuple[ShownRun, ...]:
        """The finished selections whose trajectories are shown, too."""
        keys = {selection for selection, _ in pairs_of(self._library.sources)}
        found = self._library.of_kind("selection")
        return tuple(one for one in found if one.key in keys and not one.is_partial)

    def trajectories_of(self, selection: str) -> str:
        """The key of the run that a selection was made from."""
        return next(of for one, of in pairs_of(self._library.sources) if one == selection)

    def draw(self, selection: str, seed: int) -> Calibration:
        """The steps to ask about.

        Raises:
            DataError: the selection is not finished, its trajectories are not shown, or it has too
                few steps.
        """
        source = self._library.source(selection)
        if source not in self.selections or source.file is None:
            raise DataError(
                f"{source.title}: only a finished selection whose trajectories are shown can be "
                "calibrated. Give both to 'atlas view'."
            )
        key = selection, source.digest, seed
        with self._lock:
            if key not in self._drawn:
                read = read_records(source.file, Selection)
                self._drawn[key] = draw_steps(read, seed=seed)
            return self._drawn[key]


def calibrate_routes(context: AppContext) -> APIRouter:
    """`GET /calibrate` and `POST /calibrate/answer`.

    Nothing shows what the selector said before every step has an answer.
    """
    router, library = APIRouter(prefix="/calibrate"), context.library
    calibrations = Calibrations(library)
    store = AnswerStore(context.labels.database)

    def show_calibration(
        request: Request, selection: str = "", seed: int = 0, number: int = 0
    ) -> HTMLResponse:
        known = calibrations.selections
        if not selection and len(known) == 1:
            selection = known[0].key
        if not selection:
            return context.render("calibrate.html.j2", selections=known)
        annotator = annotator_of(request, context)
        calibration = calibrations.draw(selection, _seed(seed))
        of, answers = (
            calibrations.trajectories_of(selection),
            store.answers(annotator, calibration.id),
        )
        left = [
            place
            for place, step in enumerate(calibration.steps, start=1)
            if step.place not in answers
        ]
        if not left and not number:
            ids = {step.trajectory_id for step in calibration.steps}
            tasks = {id_: task_of(library.trajectory(of, id_)) for id_ in ids}
            result = measure_calibration(calibration, answers, tasks, annotator)
            view = describe_result(result, selection, seed)
            return context.render("calibrate.html.j2", result=view, trajectories=of)
        number = number or left[0]
        if not 1 <= number <= len(calibration.steps):
            raise ConfigError(f"question {number}: expected 1 to {len(calibration.steps)}.")
        asked = calibration.steps[number - 1]
        trajectory = library.trajectory(of, asked.trajectory_id)
        given = answers.get(asked.place)
        question = QuestionView(
            selection=selection,
            calibration=calibration.id,
            seed=seed,
            number=number,
            num_steps=len(calibration.steps),
            num_answered=len(calibration.steps) - len(left),
            trajectory_id=asked.trajectory_id,
            step=asked.step,
            task=one_line(trajectory.task.id, 200),
            goal=one_line(trajectory.task.goal or "", 2000),
            outcome=trajectory.outcome.status,
            prompt=describe_messages(trajectory.prompt),
            steps=describe_context(trajectory, asked.step),
            final=describe_messages(trajectory.final_observation),
            choices=describe_choices(given),
            reason=(given and given.reason) or "",
        )
        return context.render("calibrate.html.j2", question=question, annotator=annotator)

    def answer(request: Request, form: FormBody) -> Response:
        selection, seed = field(form, "selection"), whole_number(form, "seed")
        calibration = calibrations.draw(selection, _seed(seed))
        # The selection may have been made again since the page was loaded.
        if field(form, "calibration") != calibration.id:
            raise ConfigError(
                "the selection has changed since this question was shown. Start the calibration "
                "again."
            )
        place: Place = field(form, "id"), whole_number(form, "step")
        if place not in {step.place for step in calibration.steps}:
            raise ConfigError(f"step {place[1]} of '{place[0]}' is not asked about. Go back.")
        annotator = annotator_of(request, context)
        store.add(annotator, calibration.id, place, _type_of(form), form.get("reason"))
        return see_other("/calibrate", selection=selection, seed=seed)

    router.add_api_route("", show_calibration, response_class=HTMLResponse)
    router.add_api_route("/answer", answer, methods=["POST"])
    return router


def _seed(seed: int) -> int:
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed {seed}: expected 0 to {MAX_SEED:,}.")
    return seed


def _type_of(form: Form) -> LabelType:
    text = field(form, "type")
    for known in TYPE_NAMES:
        if text == known:
            return known
    raise ConfigError(f"answer '{text:.40}' is not known, expected: {', '.join(TYPE_NAMES)}.")
