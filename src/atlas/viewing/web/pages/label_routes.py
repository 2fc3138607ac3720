"""The routes of labels: controls beside a step, the page of all labels, and their exports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from atlas.errors import ConfigError
from atlas.records import LabelType, Trajectory
from atlas.store.manifests import read_manifest
from atlas.store.paths import name_fault
from atlas.store.record_files import to_json
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.labels.label_files import label_lines
from atlas.viewing.web.labels.people_selection import labels_of_run, write_people_selection
from atlas.viewing.web.labels.store import KEEP, check_annotator
from atlas.viewing.web.labels.uncertain_order import UncertainOrder
from atlas.viewing.web.pages.hidden_choices import hides_choices, query_of, shown_labels
from atlas.viewing.web.pages.label_forms import (
    Form,
    annotator_of,
    field,
    is_htmx,
    number,
    read_form,
    remember_annotator,
    see_other,
    whole_number,
)
from atlas.viewing.web.pages.labeling_view import TYPE_NAMES, LabelingView, describe_labeling
from atlas.viewing.web.pages.labels_page import describe_labels

FormBody = Annotated[Form, Depends(read_form)]
NUM_EDITS = 50


def labeling_of(
    context: AppContext, request: Request, source: str, trajectory: Trajectory
) -> LabelingView:
    """The controls of a trajectory for the person at this browser.

    `is_hidden` of the result says whether the page must hide what selectors say.
    """
    return describe_labeling(
        trajectory,
        source,
        annotator_of(request, context),
        context.labels.labelings(trajectory),
        is_hidden=hides_choices(context, request, trajectory),
        asked_step=_asked_step(request),
        query=query_of(context, request).params,
    )


def _asked_step(request: Request) -> int | None:
    """The step in the address of which the fields to write in are asked for."""
    given = request.query_params.get("fields", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else None


def label_routes(context: AppContext) -> APIRouter:
    """Routes under `/labels`. A script gets the changed part of a page, a form a redirection."""
    router = APIRouter(prefix="/labels")
    _add_edits(router, context)
    _add_page(router, context)
    _add_exports(router, context)
    return router


def _add_edits(router: APIRouter, context: AppContext) -> None:
    library, labels, render = context.library, context.labels, context.render

    def answer(
        request: Request, form: Form, step: int | None, *, retargets: bool = False
    ) -> Response:
        """The changed step for a script, the whole page otherwise."""
        source, id_ = field(form, "source"), field(form, "id")
        if step is None or not is_htmx(request):
            anchor = "" if step is None else f"step-{step}"
            query = query_of(context, request).params
            response: Response = see_other("/trajectory", anchor, source=source, id=id_, **query)
            if is_htmx(request):
                response = Response(headers={"HX-Refresh": "true"})
            return response
        view = labeling_of(context, request, source, library.trajectory(source, id_))
        part = render("labeling.html.j2", labeling=view.steps[step], bar=view)
        if retargets:
            part.headers["HX-Retarget"] = f"#label-{step}"
            part.headers["HX-Reswap"] = "outerHTML"
        return part

    def set_label(request: Request, form: FormBody) -> Response:
        trajectory = library.trajectory(field(form, "source"), field(form, "id"))
        step = whole_number(form, "step")
        # A form has no field of what its page does not show, or where nothing is chosen.
        labels.set(
            annotator_of(request, context),
            trajectory,
            step,
            _type_of(form["type"]) if "type" in form else KEEP,
            reason=form.get("reason", KEEP),
            evidence=form.get("evidence", KEEP),
            confidence=number(form, "confidence") if "confidence" in form else KEEP,
        )
        return answer(request, form, step)

    def undo_label(request: Request, form: FormBody) -> Response:
        trajectory = library.trajectory(field(form, "source"), field(form, "id"))
        undone = labels.undo(annotator_of(request, context), trajectory)
        if undone is None and is_htmx(request):
            return Response(status_code=204)
        # The undone label may be that of another step.
        return answer(request, form, None if undone is None else undone.step, retargets=True)

    def finish_labels(request: Request, form: FormBody) -> Response:
        trajectory = library.trajectory(field(form, "source"), field(form, "id"))
        is_finished = form.get("finished", "yes") == "yes"
        labels.finish(annotator_of(request, context), trajectory, is_finished)
        return answer(request, form, None)

    router.add_api_route("/set", set_label, methods=["POST"])
    router.add_api_route("/undo", undo_label, methods=["POST"])
    router.add_api_route("/finish", finish_labels, methods=["POST"])


def _add_page(router: APIRouter, context: AppContext) -> None:
    library, labels = context.library, context.labels
    order = UncertainOrder(library)

    def show_labels(request: Request, made: str = "", none: str = "") -> HTMLResponse:
        said = _made(labels.path.parent, made, context.config.blind) if made else ""
        if none:
            said = f"{library.source(none).title}: nothing uncertain is left to label."
        is_shown = shown_labels(context, request)
        view = describe_labels(
            [one for one in labels.labelings() if is_shown(one)],
            labels.trajectories(),
            labels.agreement(is_shown),
            [edit for edit in labels.history() if is_shown(edit)][:NUM_EDITS],
            library.sources,
            labels.path.name,
        )
        return context.render(
            "labels.html.j2",
            view=view,
            annotator=annotator_of(request, context),
            said=said,
            is_blind=context.config.blind,
            makes_selections=context.make_selection is not None,
        )

    def choose_annotator(form: FormBody) -> Response:
        response = see_other("/labels")
        remember_annotator(response, context, check_annotator(field(form, "annotator")))
        return response

    def show_next(request: Request, source: str, after: str = "") -> Response:
        annotator = annotator_of(request, context)
        done = {
            one.digest
            for one in labels.labelings()
            if one.is_finished and one.annotator == annotator
        }
        found = order.next_of(source, done, after)
        if found is None:
            return see_other("/labels", none=source)
        # The step is one about which selectors are uncertain.
        is_hidden = hides_choices(context, request, library.trajectory(source, found.trajectory_id))
        anchor = "" if is_hidden else f"step-{found.step}"
        query = query_of(context, request).params
        return see_other("/trajectory", anchor, source=source, id=found.trajectory_id, **query)

    router.add_api_route("", show_labels, response_class=HTMLResponse)
    router.add_api_route("/annotator", choose_annotator, methods=["POST"])
    router.add_api_route("/next", show_next)


def _add_exports(router: APIRouter, context: AppContext) -> None:
    library, labels = context.library, context.labels

    def export_labels(
        request: Request,
        format: str = "jsonl",
        source: str = "",
        annotator: str = "",
        finished: str = "",
    ) -> Response:
        if format != "jsonl":
            raise ConfigError(f"format '{format:.40}' is not known, expected jsonl.")
        is_shown = shown_labels(context, request)
        chosen = [
            one
            for one in labels.labelings()
            if is_shown(one)
            and annotator in ("", one.annotator)
            and (one.is_finished or not finished)
            and (not source or labels_of_run(library, source, one))
        ]
        body = b"".join(to_json(label) + b"\n" for label in label_lines(chosen))
        headers = {"content-disposition": 'attachment; filename="labels.jsonl"'}
        return Response(body, media_type="application/x-ndjson", headers=headers)

    def make_selection(request: Request, form: FormBody) -> Response:
        if context.make_selection is None:
            raise ConfigError(
                "this viewer cannot write selections. Export the labels, then use 'atlas select "
                "--selector annotated labels=FILE'."
            )
        ratio = number(form, "ratio")
        made = write_people_selection(
            library,
            labels,
            context.make_selection,
            field(form, "source"),
            field(form, "name"),
            annotator=form.get("annotator") or None,
            ratio=1.0 if ratio is None else ratio,
            finished_only=bool(form.get("finished")),
            only=shown_labels(context, request),
        )
        return see_other("/labels", made=made.out.name)

    router.add_api_route("/export", export_labels)
    router.add_api_route("/selection", make_selection, methods=["POST"])


def _made(folder: Path, name: str, is_blind: bool) -> str:
    """A sentence on a selection that was written, read from its run folder.

    In blind mode it has no counts: they may be those of a selector.
    """
    if name_fault(name) is not None:
        return ""
    summary = read_manifest(folder / name, ("select",)).summary
    if is_blind:
        return f"Written: {folder / name}."
    steps, trajectories = summary["selected_steps"], summary["trajectories"]
    return (
        f"Written: {folder / name}, a selection with {steps:,} critical steps in "
        f"{trajectories:,} trajectories."
    )


def _type_of(text: str) -> LabelType | None:
    if not text:
        return None
    for known in TYPE_NAMES:
        if text == known:
            return known
    expected = ", ".join(TYPE_NAMES)
    raise ConfigError(f"label type '{text:.40}' is not known, expected one of: {expected}.")
