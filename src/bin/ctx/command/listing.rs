//! What is listed, page by page: folders, edges, versions and what a search finds.

use context_store::{
    Direction, Entry, Page, Paging, SearchOptions, StoreError, Traverse, TreeOptions, Uri, printable_line,
};

use super::{Context, NOTHING_FOUND, Outcome};
use crate::{
    args::{DirectionName, FilterArgs, PageArgs},
    output::{self, json, table},
};

impl Context {
    pub(super) async fn tree(&self, root: &Uri, depth: Option<u32>, paths: bool) -> Outcome {
        self.must_be_there(root).await?;
        let page =
            all(async |paging| self.store.tree(&self.caller, root, &TreeOptions { depth, paging }).await).await?;
        if self.json {
            return json(&page);
        }
        if paths {
            let nodes = page.items.iter().filter(|entry| entry.node.is_some());
            return Ok(nodes.map(|entry| format!("{}\n", entry.uri)).collect());
        }
        let folders = page.items.iter().filter(|entry| entry.is_folder).count();
        let nodes = page.items.iter().filter(|entry| entry.node.is_some()).count();
        let tree = output::tree(root.depth(), &page.items);
        Ok(format!("{root}\n{tree}\n{folders} folder(s), {nodes} node(s)\n"))
    }

    pub(super) async fn ls(&self, folder: &Uri, long: bool, archived: bool, page: &PageArgs) -> Outcome {
        self.must_be_there(folder).await?;
        if archived {
            let list = async |paging| self.store.list_archived(&self.caller, folder, &paging).await;
            let listed = listed(page, list).await?;
            if self.json {
                return json(&listed);
            }
            let lines: String = listed.items.iter().map(|uri| format!("{uri}\n")).collect();
            return Ok(lines + &next_line(&listed));
        }
        let listed = listed(page, async |paging| self.store.list_children(&self.caller, folder, &paging).await).await?;
        self.entries(listed, long)
    }

    pub(super) async fn glob(&self, pattern: &str, page: &PageArgs) -> Outcome {
        let listed = listed(page, async |paging| self.store.glob(&self.caller, pattern, &paging).await).await?;
        if self.json {
            return json(&listed);
        }
        let lines = listed.items.iter().map(|entry| format!("{}\n", entry.uri)).collect::<String>();
        Ok(lines + &next_line(&listed))
    }

    /// An empty listing of what was never there is a mistake worth telling; one of what is empty now is not.
    async fn must_be_there(&self, folder: &Uri) -> Result<(), StoreError> {
        match self.store.is_there(&self.caller, folder).await? {
            true => Ok(()),
            false => Err(StoreError::NotFound { uri: folder.clone(), archived: false }),
        }
    }

    /// Where no URI is named, the account has to be one.
    pub(super) async fn account_must_be_there(&self) -> Result<(), StoreError> {
        self.must_be_there(&Uri::account_root(self.caller.account())?).await
    }

    pub(super) async fn grep(
        &self,
        pattern: &str,
        folder: &Uri,
        (fixed, ignore_case): (bool, bool),
        list: bool,
    ) -> Outcome {
        self.must_be_there(folder).await?;
        let pattern = if fixed { regex::escape(pattern) } else { pattern.to_owned() };
        let matcher = regex::RegexBuilder::new(&pattern).case_insensitive(ignore_case).build();
        let refuse = |e: regex::Error| {
            let said = e.to_string();
            let said = said.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            StoreError::InvalidArgument(format!("{pattern:?} is no regular expression: {said}"))
        };
        let matcher = matcher.map_err(refuse)?;
        let (mut text, mut found) = (String::new(), Vec::new());
        let mut paging = Paging::first(100);
        loop {
            let page = self.store.texts(&self.caller, folder, &paging).await?;
            for node in &page.items {
                let lines = node.content.lines().enumerate().filter(|(_, line)| matcher.is_match(line));
                for (n, line) in lines.take(if list { 1 } else { usize::MAX }) {
                    if self.json {
                        found.push(serde_json::json!({ "uri": node.uri, "line": n + 1, "text": line }));
                    } else if list {
                        text += &format!("{}\n", node.uri);
                    } else {
                        text += &format!("{}:{}:{}\n", node.uri, n + 1, printable_line(line));
                    }
                }
            }
            match page.next {
                Some(next) => paging = Paging::first(100).after(next),
                None => break,
            }
        }
        if self.json {
            return json(&found);
        }
        if text.is_empty() {
            self.outcome.set(NOTHING_FOUND);
        }
        Ok(text)
    }

    fn entries(&self, page: Page<Entry>, long: bool) -> Outcome {
        if self.json {
            return json(&page);
        }
        let text = match long {
            false => page.items.iter().map(|entry| output::coloured(entry) + "\n").collect(),
            true => {
                let rows = page.items.iter().map(|entry| {
                    let node = entry.node.as_ref();
                    [
                        node.map_or_else(|| "-".into(), |node| node.node_type.clone()),
                        node.map_or_else(|| "-".into(), |node| node.version.to_string()),
                        node.map_or_else(|| "-".into(), |node| node.content_bytes.to_string()),
                        node.map_or_else(|| "-".into(), |node| output::time(node.updated_at)),
                        output::name(entry),
                    ]
                });
                table(["TYPE", "VERSION", "BYTES", "CHANGED", "NAME"], rows)
            }
        };
        Ok(text + &next_line(&page))
    }

    pub(super) async fn edges(&self, uri: &Uri, direction: DirectionName, page: &PageArgs) -> Outcome {
        let direction = direction_of(direction);
        let listed = listed(page, async |paging| self.store.edges(&self.caller, uri, direction, &paging).await).await?;
        if self.json {
            return json(&listed);
        }
        let rows = listed.items.iter().map(|edge| {
            [
                edge.edge_type.clone(),
                format!("{:.2}", edge.weight),
                edge.from.to_string(),
                edge.to.to_string(),
                edge.reason.clone(),
            ]
        });
        Ok(table(["TYPE", "WEIGHT", "FROM", "TO", "REASON"], rows) + &next_line(&listed))
    }

    pub(super) async fn traverse(&self, uri: &Uri, options: Traverse, whole: bool) -> Outcome {
        let found = match whole {
            false => self.store.traverse(&self.caller, uri, &options).await?,
            true => {
                all(async |paging| {
                    self.store.traverse(&self.caller, uri, &Traverse { paging, ..options.clone() }).await
                })
                .await?
            }
        };
        if self.json {
            return json(&found);
        }
        let rows = found.items.iter().map(|node| {
            [
                node.depth.to_string(),
                format!("{:.3}", node.score),
                node.via.clone(),
                node.uri.to_string(),
                node.r#abstract.clone(),
            ]
        });
        Ok(table(["DEPTH", "SCORE", "VIA", "NODE", "ABSTRACT"], rows) + &next_line(&found))
    }

    pub(super) async fn history(&self, uri: &Uri, page: &PageArgs) -> Outcome {
        let listed = listed(page, async |paging| self.store.history(&self.caller, uri, &paging).await).await?;
        if self.json {
            return json(&listed);
        }
        let rows = listed.items.iter().map(|entry| {
            let replaced =
                entry.replaced_by.map_or_else(|| "current".to_owned(), |change| format!("{change:?}").to_lowercase());
            [entry.version.to_string(), output::time(entry.written_at), replaced, entry.uri.to_string()]
        });
        Ok(table(["VERSION", "WRITTEN", "REPLACED BY", "URI"], rows) + &next_line(&listed))
    }

    pub(super) async fn search(&self, query: &str, within: Option<Uri>, filter: FilterArgs, paging: Paging) -> Outcome {
        self.account_must_be_there().await?;
        let options = SearchOptions {
            within,
            owner_space: filter.space,
            category: filter.category,
            node_type: filter.node_type,
            metadata: filter.metadata,
            since: filter.since,
            until: filter.until,
            paging,
        };
        let found = self.store.search(&self.caller, query, &options).await?;
        if self.json {
            return json(&found);
        }
        let mut text = String::new();
        for hit in &found.items {
            let snippet = hit.snippet.split_whitespace().collect::<Vec<_>>().join(" ");
            // The name is in the address; it is shown again where it is what matches.
            let title =
                if hit.title.contains('[') { format!("{}: ", printable_line(&hit.title)) } else { String::new() };
            text += &format!("{}\n    {title}{}\n", hit.uri, printable_line(&snippet));
        }
        if found.items.is_empty() {
            text += "nothing found\n";
        }
        Ok(text + &next_line(&found))
    }
}

pub(super) fn direction_of(direction: DirectionName) -> Direction {
    match direction {
        DirectionName::Out => Direction::Outgoing,
        DirectionName::In => Direction::Incoming,
        DirectionName::Both => Direction::Both,
    }
}

pub(super) fn paging(page: &PageArgs) -> Paging {
    Paging { limit: page.limit.unwrap_or(WHOLE_PAGE), after: page.after.clone() }
}

/// The size of the pages in which a whole listing is fetched.
const WHOLE_PAGE: u64 = 1_000;

/// The page that was asked for, or all of them.
async fn listed<T>(
    page: &PageArgs,
    mut fetch: impl AsyncFnMut(Paging) -> Result<Page<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    match page.limit {
        Some(_) => fetch(paging(page)).await,
        None => all(fetch).await,
    }
}

/// All pages of a listing as one.
async fn all<T>(mut fetch: impl AsyncFnMut(Paging) -> Result<Page<T>, StoreError>) -> Result<Page<T>, StoreError> {
    let mut whole = Vec::new();
    let mut paging = Paging::first(WHOLE_PAGE);
    loop {
        let page = fetch(paging).await?;
        whole.extend(page.items);
        match page.next {
            Some(next) => paging = Paging::first(WHOLE_PAGE).after(next),
            None => return Ok(Page { items: whole, next: None }),
        }
    }
}

fn next_line<T>(page: &Page<T>) -> String {
    page.next.as_ref().map(|next| format!("more: --after {next:?}\n")).unwrap_or_default()
}
